"""How far a command is: a bar on a terminal, a plain line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

_PLAIN_LINE_SECONDS = 10.0
_BAR_WIDTH = 24


@contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each stage, with rate and time left; it begins with the first number."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(_BAR_WIDTH),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console)
    tasks: dict[str, tuple] = {}

    def update(stage: str, done: int, total: int) -> None:
        if not tasks:
            bar.start()
        if stage not in tasks:
            tasks[stage] = (bar.add_task(stage, total=total, rate=""), time.monotonic())
        task, started = tasks[stage]
        rate = f"{done / max(1e-9, time.monotonic() - started):,.0f}/s"
        bar.update(task, completed=done, total=total, rate=rate)

    try:
        yield update
    finally:
        bar.stop()


def progress_lines(say: Callable[[str], None]) -> Callable[[str, int, int], None]:
    """A line now and then, for logs."""
    started: dict[str, float] = {}
    last = 0.0

    def update(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        start = started.setdefault(stage, now)
        if now - max(last, start) >= _PLAIN_LINE_SECONDS and done:
            last = now
            rate = done / (now - start)
            say(
                f"{stage}: {done:,} of {total:,}, {rate:,.0f}/s, "
                f"{(total - done) / max(rate, 1e-9):,.0f} s left"
            )

    return update
