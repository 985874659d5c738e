"""Standard streams that are closed, full or read only in part; terminals that can do little."""

import contextlib
import os
from collections.abc import Callable, Iterator

from benchmarks.attacks.endings import COMMANDS
from benchmarks.attacks.workplace import (
    Tally,
    Workplace,
    find_leftovers,
    judge,
    name_outcome,
)

Streams = Callable[[], tuple[dict[int, int], Callable[[], None]]]


def _nothing() -> None:
    """For a command whose streams stay as they are."""


def _reader_gone(number: int) -> Streams:
    """A pipe whose reader has seen enough: `| head -1`."""

    def make() -> tuple[dict[int, int], Callable[[], None]]:
        reader, writer = os.pipe()
        os.close(reader)
        return {number: writer}, _nothing

    return make


def _full() -> tuple[dict[int, int], Callable[[], None]]:
    return {1: os.open("/dev/full", os.O_WRONLY)}, _nothing


def _closed(*numbers: int) -> Streams:
    def close() -> None:
        for number in numbers:
            with contextlib.suppress(OSError):
                os.close(number)

    return lambda: ({}, close)


STREAMS: dict[str, tuple[Streams, tuple[int, ...]]] = {
    "stdout's reader is gone": (_reader_gone(1), (0, 1)),
    "stderr's reader is gone": (_reader_gone(2), (0,)),
    "stdout is full": (_full, (0, 1)),
    "<&-": (_closed(0), (0,)),
    ">&-": (_closed(1), (0,)),
    "2>&-": (_closed(2), (0,)),
    "<&- >&- 2>&-": (_closed(0, 1, 2), (0,)),
}


def attack_streams(
    place: Workplace, names: tuple[str, ...], kinds: tuple[str, ...] = tuple(STREAMS)
) -> Iterator[Tally]:
    """Each command with each kind of streams; what it writes is written all the same."""
    for kind in kinds:
        make, may = STREAMS[kind]
        tally = Tally(kind, ", ".join(names))
        for name in names:
            command = COMMANDS[name]
            streams, before = make()
            with place.copy(*command.needs) as folder:
                end = place.run(
                    command.arguments, folder, streams=streams, before=before, is_warm=False
                )
                for descriptor in streams.values():
                    os.close(descriptor)
                silent = "reader is gone" in kind or end.stderr == ""
                wrong = [
                    one
                    for one in judge(end, may=may)
                    if not (silent and one.startswith("not one message"))
                ]
                if command.writes:
                    command.read(folder, end)
                if find_leftovers(folder):
                    wrong.append(f"left over: {find_leftovers(folder)}")
            tally.add(name_outcome(end), [f"{name}: {one}" for one in wrong])
        yield tally
