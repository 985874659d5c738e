"""Embedding on a cluster: batches go to the workers of a `dask.distributed` scheduler, their rows
come back in order, and this process alone writes.

Before a worker's rows are taken, its Frostline, engine and device and what it makes of the first
images are compared with those of the others. A worker that dies costs its batches in flight.
"""

import pickle
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ClusterError, MissingExtraError
from pipeline.features.embed import Embedded, MakeEmbedder
from pipeline.features.spread.cluster_checks import (
    describe_other_frostline,
    require_equal,
    require_visible,
)
from pipeline.features.spread.cluster_worker import (
    Answer,
    ClusterJob,
    Passport,
    describe_frostline,
    embed_on_worker,
    embed_pixels_on_worker,
    introduce,
)
from pipeline.images.decoding.read_batches import ReaderSettings
from pipeline.recipe import EngineRecord
from pipeline.system.printable import printable

IMAGES_PER_TASK = 64  # a task costs the scheduler about a millisecond
N_PROBES = 16
WAIT_SECONDS = 60.0  # for a scheduler to answer, and for a first or another worker
_LOOK_AHEAD = 4  # batches for each thread of the workers
_GLANCE_SECONDS = 2.0  # between looks at which workers there are


class EmbedOnCluster:
    """Reads, decodes and embeds on the workers of a cluster, a batch in each of their threads.

    Args:
        make_embedder: makes a worker's embedder from a batch size; must be picklable.
        batch_size: images per call of the network, None = choose.
        settings: how workers read images.
        scheduler: its address, such as `tcp://10.0.0.1:8786`.
    """

    def __init__(
        self,
        make_embedder: MakeEmbedder,
        batch_size: int | None,
        settings: ReaderSettings,
        scheduler: str,
    ):
        self._job = ClusterJob(pickle.dumps(make_embedder), batch_size, settings)
        self._scheduler = scheduler
        self._open = ExitStack()
        self._client: Any = None
        self._accepted: Passport | None = None  # each worker's must be like it
        self._seen = -_GLANCE_SECONDS, 0  # when the threads were counted, and how many there were
        self.n_features = self.batch_size = self.images_per_task = 0
        self.record = EngineRecord()
        self.notes: list[str] = []

    def __enter__(self) -> "EmbedOnCluster":
        with ExitStack() as stack:
            self._client = stack.enter_context(_connect(self._scheduler))
            self._require_same_frostline()
            passport = self._compare_workers()
            self.n_features, self.batch_size, per_task = passport.numbers
            self.images_per_task = -(-IMAGES_PER_TASK // per_task) * per_task
            n_workers, n_threads = self._count_workers()
            self.record = replace(passport.record, n_threads=n_threads)
            self.notes = [
                f"{n_workers:,} worker(s) of {self._scheduler}, {n_threads:,} thread(s): "
                f"{passport.record}.",
                *passport.notes,
            ]
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def map(self, batches: Iterable[list[Path]]) -> Iterator[tuple[list[Path], Embedded]]:
        """Each batch with what became of it, in the order of the batches.

        Raises:
            ClusterError: the scheduler or all workers are lost, or one does not see an image.
            EngineError: a worker gives other rows than the others.
        """
        rest = ([path.absolute() for path in batch] for batch in batches)
        first = next(rest, None)
        if first is None:
            return
        self._job = replace(self._job, probes=tuple(first[:N_PROBES]))
        self._accepted = self._compare_workers()
        pending: deque[tuple[list[Path], Any]] = deque()
        try:
            for batch in chain([first], rest):
                pending.append((batch, self._submit(self._job, batch)))
                while len(pending) >= _LOOK_AHEAD * max(1, self._count_threads()):
                    yield self._take(*pending.popleft())
            while pending:
                yield self._take(*pending.popleft())
        finally:
            for _, future in pending:
                future.release()

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Rows of decoded images, as a worker's network gives them."""
        future = self._client.submit(embed_pixels_on_worker, self._job, pixels, pure=False)
        rows: np.ndarray = self._wait_for(future)
        return rows

    def advise(self) -> list[str]:
        """Nothing: which of many machines would profit from what, is not measured."""
        return []

    def _submit(self, job: ClusterJob, batch: list[Path]) -> Any:
        expected = "" if self._accepted is None else self._accepted.seal
        return self._client.submit(embed_on_worker, job, batch, expected, pure=False)

    def _take(self, batch: list[Path], future: Any) -> tuple[list[Path], Embedded]:
        """What became of a batch; one that workers died of is tried again, each image in a process
        of its own.
        """
        from distributed import KilledWorker

        try:
            answer: Answer = self._wait_for(future)
        except KilledWorker:
            isolated = replace(self._job, settings=replace(self._job.settings, isolate=True))
            try:
                answer = self._wait_for(self._submit(isolated, batch))
            except KilledWorker as error:
                raise ClusterError(
                    f"Workers died again and again of the same {len(batch):,} images. Expected "
                    f"workers with enough memory. Received: {printable(str(batch[0]))} and those "
                    f"after it; the last worker was {error.last_worker.address}\n"
                    "What was finished is kept. See the workers' own messages."
                ) from error
        if answer.passport is not None:
            self._check(answer.passport, self._accepted)
        limits = self._job.settings.limits
        require_visible(answer.address, batch, answer.embedded[0], limits)
        return batch, answer.embedded

    def _check(self, found: Passport, first: Passport | None) -> None:
        """Refuses a worker that does not see the probes, or does not give the first one's rows."""
        require_visible(found.address, self._job.probes, found.outcomes, self._job.settings.limits)
        require_equal(found, first, self._job.probes)

    def _compare_workers(self) -> Passport:
        """The passport of all workers that are there now, each of which was asked for its own.

        Raises:
            ClusterError: there is none, or one does not see the probes.
            EngineError: one differs from the first.
        """
        asked = {
            address: self._client.submit(
                introduce, self._job, workers=[address], allow_other_workers=False, pure=False
            )
            for address in sorted(self._list_workers())
        }
        passports: list[Passport] = []
        for address, future in asked.items():
            found = self._wait_for(future, needed=address)
            if found is not None:
                self._check(found, passports[0] if passports else None)
                passports.append(found)
        if not passports:
            raise ClusterError(self._say_that_no_worker("is left"))
        return passports[0]

    def _require_same_frostline(self) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not self._list_workers():
            if time.monotonic() > deadline:
                raise ClusterError(self._say_that_no_worker("has joined"))
            time.sleep(0.2)
        here = describe_frostline()
        said = self._client.run(describe_frostline, on_error="return")
        others = {address: found for address, found in said.items() if found != here}
        if others:
            raise ClusterError(describe_other_frostline(others))

    def _wait_for(self, future: Any, needed: str | None = None) -> Any:
        """What a task gives; whoever waits is told when there is nobody left to do it.

        Args:
            needed: the one worker that can; None comes back where it is gone.
        """
        from distributed import CancelledError

        lonely_since: float | None = None
        while True:
            try:
                return future.result(timeout=_GLANCE_SECONDS)
            except CancelledError as error:
                raise ClusterError(_describe_loss(self._scheduler)) from error
            except TimeoutError:
                if future.status == "error":  # the task's own
                    raise
                workers = self._list_workers()
            if needed is not None and needed not in workers:
                return None
            now = time.monotonic()
            lonely_since = None if workers else lonely_since or now
            if lonely_since is not None and now - lonely_since > WAIT_SECONDS:
                raise ClusterError(self._say_that_no_worker("is left"))

    def _list_workers(self) -> dict[str, int]:
        """Address and threads of each worker that is there now."""
        with _loss_named(self._scheduler):
            return dict(self._client.nthreads())

    def _count_workers(self) -> tuple[int, int]:
        workers = self._list_workers()
        return len(workers), sum(workers.values())

    def _count_threads(self) -> int:
        then, n_threads = self._seen
        if time.monotonic() - then >= _GLANCE_SECONDS:
            n_threads = self._count_workers()[1]
            self._seen = time.monotonic(), n_threads
        return n_threads

    def _say_that_no_worker(self, what: str) -> str:
        return (
            f"No worker of {self._scheduler} {what}. Expected one within {WAIT_SECONDS:g} seconds."
            f"\nStart some: dask worker {self._scheduler}\nWhat was finished is kept."
        )


@contextmanager
def _connect(scheduler: str) -> Iterator[Any]:
    """A client of the scheduler."""
    try:
        from distributed import Client
    except ImportError:
        raise MissingExtraError(
            "A cluster needs the package distributed, which is not installed. Expected the extra "
            f"`dask`. Received: `scheduler={scheduler}`\nInstall it: pip install '.[dask]'"
        ) from None
    try:
        client = Client(scheduler, timeout=WAIT_SECONDS / 4, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ClusterError(
            "No scheduler answers there. Expected the address that `dask scheduler` prints, such "
            f"as tcp://10.0.0.1:8786. Received: `scheduler={scheduler}` ({error})\n"
            "Is it started, and does a firewall let its port through?"
        ) from error
    try:
        yield client
    finally:
        client.close(timeout=2)


@contextmanager
def _loss_named(scheduler: str) -> Iterator[None]:
    try:
        yield
    except (OSError, TimeoutError) as error:
        raise ClusterError(_describe_loss(scheduler)) from error


def _describe_loss(scheduler: str) -> str:
    return (
        f"The scheduler is lost. Expected it to answer to the end. Received: nothing more from "
        f"{scheduler}\nWhat was finished is kept. Start it and its workers again, and then the "
        "same command."
    )
