"""How far a command is: a bar on a terminal, a plain line now and then elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

_PLAIN_LINE_SECONDS = 10.0
_RATE_SECONDS = 1.0  # a shorter time says nothing of how fast things go
_RATE_COUNT = 5  # and neither do fewer
_BAR_WIDTH = 24


def describe_rate(done: int, seconds: float) -> str | None:
    """`12.3` a second; None for so few or in so short a time that it says nothing."""
    if done < _RATE_COUNT or seconds < _RATE_SECONDS:
        return None
    rate = done / seconds
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:,.1f}"


@contextmanager
def progress_bar(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each stage, with rate and time left; it begins with the first number."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
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
    tasks: dict[str, tuple[TaskID, float, int]] = {}

    def update(stage: str, done: int, total: int) -> None:
        if not tasks:
            bar.start()
        if stage not in tasks:
            tasks[stage] = (
                bar.add_task(stage, total=total or None, rate=""),
                time.monotonic(),
                done,
            )
        task, started, at_first = tasks[stage]
        rate = describe_rate(done - at_first, time.monotonic() - started)
        bar.update(task, completed=done, total=total or None, rate=f"{rate}/s" if rate else "")

    try:
        yield update
    finally:
        bar.stop()


def progress_lines(say: Callable[[str], None]) -> Callable[[str, int, int], None]:
    """A line now and then, for logs."""
    started: dict[str, tuple[float, int]] = {}
    last = 0.0

    def update(stage: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        start, at_first = started.setdefault(stage, (now, done))
        if now - max(last, start) < _PLAIN_LINE_SECONDS or not done:
            return
        last = now
        rate = describe_rate(done - at_first, now - start)
        words = [f"{stage}: {done:,} of {total:,}" if total else f"{stage}: {done:,}"]
        if done > at_first and rate:
            words.append(f"{rate}/s")
        if done > at_first and total:
            left = (total - done) * (now - start) / (done - at_first)
            words.append(f"{left:,.0f} s left")
        say(", ".join(words))

    return update
