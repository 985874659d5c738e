"""Embeds a candidate's next images, into the parts that `extract` of that recipe resumes from."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.features.embed import EmbedFiles, make_embedder
from pipeline.features.feature_file import Contents, FeatureFile
from pipeline.features.finished_rows import (
    FinishedRows,
    Found,
    PartWriter,
    find_rows,
    parts_folder_of,
)
from pipeline.features.open_embedding import Workers, open_embedding
from pipeline.heads.probe.measured import Measured
from pipeline.images.decoding.read_batches import ReaderSettings
from pipeline.images.decoding.read_images import DEFAULT_LIMITS
from pipeline.system.locks import hold_lock
from pipeline.system.paths import is_file

_TIMED_IMAGES = 64  # where all rows are there and only the speed is not known
_WRITE_SECONDS = 1.0  # a kill loses no more than what was embedded in these
_WARM_UP = 1 / 3  # of the images, which are not timed


@dataclass(frozen=True)
class SampleFiles:
    """The images of a sample as files.

    Args:
        paths: in the order in which they are embedded.
        digests: uint8 `(n, 32)`.
    """

    paths: list[Path]
    digests: np.ndarray


@dataclass(frozen=True)
class EmbedSample:
    """Embeds the first images of a sample with a candidate.

    Args:
        files: the sample.
        device, engine, network_store: as `extract` has them.
        tell: called with what people should know.
        clock: gives seconds.
    """

    files: SampleFiles
    device: str = "auto"
    engine: str | None = None
    network_store: bool = True
    tell: Callable[[str], None] = lambda note: None
    clock: Callable[[], float] = time.monotonic

    def __call__(self, one: Measured, n_images: int, deadline: float) -> None:
        """Has rows of the first `n_images` images, or of as many as there is time for.

        What was embedded before, by a probe or by `extract`, is read; the rest is computed and
        kept, also where this is interrupted.

        Args:
            one: gets the rows, the rate and the seconds.
            deadline: of the clock; no image is begun after it.
        """
        recipe, digests = one.candidate.recipe, self.files.digests
        folder = parts_folder_of(one.target)
        with hold_lock(one.target):
            old = _read_old(one)
            found = find_rows(one.target, folder, recipe, old, reuse=False)
            known = FinishedRows(found.sources)
            missing = np.flatnonzero(~known.have(digests[:n_images])).tolist()
            failed = set(np.flatnonzero(~one.has_row).tolist())
            missing = [place for place in missing if place not in failed]
            stopped = n_images
            if missing or one.rate is None:
                stopped = self._compute(one, found, missing, n_images, deadline)
                found = find_rows(one.target, folder, recipe, old, reuse=False)
            one.take_rows(FinishedRows(found.sources), digests, stopped)

    def _compute(
        self, one: Measured, found: Found, missing: list[int], n_images: int, deadline: float
    ) -> int:
        """Embeds what is missing; returns up to which image the sample is done."""
        candidate, started = one.candidate, self.clock()
        folder = parts_folder_of(one.target)
        settings = ReaderSettings(candidate.recipe, DEFAULT_LIMITS, folder)
        make = partial(
            make_embedder,
            candidate.recipe,
            candidate.weights,
            self.device,
            self.engine,
            network_store=self.network_store,
        )
        engines = found.list_engines()
        with open_embedding(make, engines, settings, None, Workers(), self.tell) as embedding:
            opened = self.clock()
            one.open_seconds = opened - started
            run = _Run(self.files, embedding, self.clock, deadline)
            if missing:
                writer = PartWriter(folder, candidate.recipe, embedding.record, found.next_part)
                run.embed(missing, writer)
            else:
                run.embed(list(range(min(n_images, _TIMED_IMAGES))), None)
        one.rate = run.rate or one.rate
        return n_images if run.n_done == len(missing) or not missing else missing[run.n_done]


@dataclass
class _Run:
    """One pass over some images, timed."""

    files: SampleFiles
    embedding: EmbedFiles
    clock: Callable[[], float]
    deadline: float
    n_done: int = 0
    _times: list[tuple[float, int]] = field(default_factory=list)

    def embed(self, places: list[int], writer: PartWriter | None) -> None:
        written = self.clock()
        try:
            for batch, (outcomes, features) in self.embedding.map(self._batches(places)):
                if writer is not None:
                    rows = iter(features)
                    for digest, reason in outcomes:
                        if reason is None:
                            writer.add(digest, next(rows))
                    if self.clock() - written > _WRITE_SECONDS:
                        writer.flush()
                        written = self.clock()
                self.n_done += len(batch)
                self._times.append((self.clock(), self.n_done))
        finally:
            if writer is not None:
                writer.flush()

    def _batches(self, places: list[int]) -> Iterator[list[Path]]:
        size = self.embedding.images_per_task
        for start in range(0, len(places), size):
            if self.clock() >= self.deadline and start:
                return
            yield [self.files.paths[place] for place in places[start : start + size]]

    @property
    def rate(self) -> float | None:
        """Images a second, once the network is warm; None of fewer than three batches."""
        if len(self._times) < 3:
            return None
        first = self._times[int(_WARM_UP * len(self._times))]
        last = self._times[-1]
        return (last[1] - first[1]) / max(last[0] - first[0], 1e-9)


def _read_old(one: Measured) -> Contents | None:
    """What the feature file holds, if it is there: its rows need not be computed."""
    if not is_file(one.target):
        return None
    with FeatureFile(one.target) as file:
        contents = file.contents
    return contents if contents.recipe == one.candidate.recipe else None
