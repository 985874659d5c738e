"""Work over batches in parallel, with no more of it in flight than memory should hold."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Batch = TypeVar("Batch")
Result = TypeVar("Result")

# Batches in flight or waiting for each stream.
LOOK_AHEAD = 4


def map_batches(
    task: Callable[[Batch], Result], batches: Iterable[Batch], n_streams: int
) -> Generator[Result, None, None]:
    """Runs `task` over the batches in threads and gives the results in the batches' order.

    At most `LOOK_AHEAD * n_streams` batches are in flight or wait to be consumed. joblib.Parallel
    holds no one back: its workers run on while the consumer is busy; and gating its input from
    outside blocks the very thread that delivers the results that would open the gate.
    """
    pool = ThreadPoolExecutor(n_streams)
    pending: deque[Future[Result]] = deque()
    try:
        for batch in batches:
            pending.append(pool.submit(task, batch))
            if len(pending) >= LOOK_AHEAD * n_streams:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def in_batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last perhaps shorter; items are taken as they are needed."""
    rest = iter(items)
    while batch := list(islice(rest, size)):
        yield batch


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
