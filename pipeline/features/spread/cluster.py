"""Embedding on a cluster: batches go to the workers of a `dask.distributed` scheduler, their rows
come back in order, and this process alone writes.

Before a worker's rows are taken, its Frostline, engine and device and what it makes of the first
images are compared with those of the others. A worker that dies costs its batches in flight.
"""

import pickle
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ClusterError
from pipeline.features.embed import Embedded, MakeEmbedder
from pipeline.features.spread.cluster_checks import (
    require_equal,
    require_visible,
)
from pipeline.features.spread.cluster_worker import (
    Answer,
    ClusterJob,
    Passport,
    embed_on_worker,
    embed_pixels_on_worker,
    introduce,
)
from pipeline.features.spread.scheduler import GLANCE_SECONDS, Cluster, connect
from pipeline.images.decoding.read_batches import ReaderSettings
from pipeline.recipe import EngineRecord
from pipeline.system.printable import printable

IMAGES_PER_TASK = 64  # a task costs the scheduler about a millisecond
N_PROBES = 16
_LOOK_AHEAD = 4  # batches for each thread of the workers


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
        self._cluster: Cluster
        self._accepted: Passport | None = None  # each worker's must be like it
        self._seen = -GLANCE_SECONDS, 0  # when the threads were counted, and how many there were
        self.n_features = self.batch_size = self.images_per_task = 0
        self.record = EngineRecord()
        self.notes: list[str] = []

    def __enter__(self) -> "EmbedOnCluster":
        with ExitStack() as stack:
            self._cluster = stack.enter_context(connect(self._scheduler))
            self._cluster.require_same_frostline()
            passport = self._compare_workers()
            self.n_features, self.batch_size, per_task = passport.numbers
            self.images_per_task = -(-IMAGES_PER_TASK // per_task) * per_task
            n_workers, n_threads = self._cluster.count_workers()
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
        future = self._cluster.client.submit(embed_pixels_on_worker, self._job, pixels, pure=False)
        rows: np.ndarray = self._cluster.wait_for(future)
        return rows

    def advise(self) -> list[str]:
        """Nothing: which of many machines would profit from what, is not measured."""
        return []

    def _submit(self, job: ClusterJob, batch: list[Path]) -> Any:
        expected = "" if self._accepted is None else self._accepted.seal
        return self._cluster.client.submit(embed_on_worker, job, batch, expected, pure=False)

    def _take(self, batch: list[Path], future: Any) -> tuple[list[Path], Embedded]:
        """What became of a batch; one that workers died of is tried again, each image in a process
        of its own.
        """
        from distributed import KilledWorker

        try:
            answer: Answer = self._cluster.wait_for(future)
        except KilledWorker:
            isolated = replace(self._job, settings=replace(self._job.settings, isolate=True))
            try:
                answer = self._cluster.wait_for(self._submit(isolated, batch))
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
            address: self._cluster.client.submit(
                introduce, self._job, workers=[address], allow_other_workers=False, pure=False
            )
            for address in sorted(self._cluster.list_workers())
        }
        passports: list[Passport] = []
        for address, future in asked.items():
            found = self._cluster.wait_for(future, needed=address)
            if found is not None:
                self._check(found, passports[0] if passports else None)
                passports.append(found)
        if not passports:
            raise self._cluster.no_worker("is left")
        return passports[0]

    def _count_threads(self) -> int:
        then, n_threads = self._seen
        if time.monotonic() - then >= GLANCE_SECONDS:
            n_threads = self._cluster.count_workers()[1]
            self._seen = time.monotonic(), n_threads
        return n_threads
