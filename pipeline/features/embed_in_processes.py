"""Embedding in worker processes, each with a network of its own.

For machines where threads of one process get in each other's way. Rows are the same bit for bit;
each worker takes the time and the memory that starting TensorFlow takes.
"""

import queue
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from pipeline.errors import FrostlineError
from pipeline.features.embed import Embed, Embedded, MakeEmbedder, embed_files
from pipeline.images.decoding.decode import share_turnstile
from pipeline.images.decoding.read_batches import BatchReader, ReaderSettings
from pipeline.recipe import EngineRecord
from pipeline.system.child_process import ChildLostError, HelperProcess
from pipeline.system.parallel import map_batches

# Number of features, batch size and images per task of an embedder; its record; its notes.
Described = tuple[tuple[int, int, int], EngineRecord, list[str]]


class EmbedInProcesses:
    """Reads, decodes and embeds in worker processes, a batch in each.

    Args:
        make_embedder: makes a worker's embedder from a batch size; must be picklable.
        batch_size: images per call of the network, None = choose.
        settings: how workers read images.
        n_jobs: number of processes.
    """

    def __init__(
        self,
        make_embedder: MakeEmbedder,
        batch_size: int | None,
        settings: ReaderSettings,
        n_jobs: int,
    ):
        self._make_embedder = make_embedder
        self._asked_batch_size = batch_size
        self._settings = settings
        self._n_jobs = n_jobs
        self._open = ExitStack()
        self._idle: queue.SimpleQueue[_EmbeddingProcess] = queue.SimpleQueue()
        self.n_features = self.batch_size = self.images_per_task = 0
        self.record = EngineRecord()
        self.notes: list[str] = []

    def __enter__(self) -> "EmbedInProcesses":
        with ExitStack() as stack:
            workers = [stack.enter_context(_EmbeddingProcess()) for _ in range(self._n_jobs)]
            numbers, record, self.notes = workers[0].prepare(
                self._make_embedder, self._asked_batch_size, self._settings
            )
            self.n_features, self.batch_size, self.images_per_task = numbers
            self.record = replace(record, n_threads=self._n_jobs)
            for worker in workers:
                self._idle.put(worker)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def map(self, batches: Iterable[list[Path]]) -> Iterator[tuple[list[Path], Embedded]]:
        return map_batches(self._embed, batches, self._n_jobs)

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Rows of decoded images, as a worker's network gives them."""
        worker = self._idle.get()
        try:
            self._prepare(worker)
            return worker.embed_pixels(pixels)
        finally:
            self._idle.put(worker)

    def advise(self) -> list[str]:
        """What the engine of a worker says."""
        worker = self._idle.get()
        try:
            self._prepare(worker)
            return worker.advise()
        finally:
            self._idle.put(worker)

    def _embed(self, batch: list[Path]) -> tuple[list[Path], Embedded]:
        worker = self._idle.get()
        try:
            self._prepare(worker)
            return batch, worker.embed(batch)
        finally:
            self._idle.put(worker)

    def _prepare(self, worker: "_EmbeddingProcess") -> None:
        if not worker.is_prepared:
            worker.prepare(self._make_embedder, self.batch_size, self._settings)


class _EmbeddingProcess(HelperProcess):
    """One worker process, which starts its network when it is first needed."""

    def __init__(self) -> None:
        super().__init__()
        self.is_prepared = False

    def __enter__(self) -> "_EmbeddingProcess":
        return self

    def prepare(
        self, make_embedder: MakeEmbedder, batch_size: int | None, settings: ReaderSettings
    ) -> Described:
        """Makes the embedder and says what it is."""
        described: Described = self._ask(_Tools.prepare, make_embedder, batch_size, settings)
        self.is_prepared = True
        return described

    def embed_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Rows of decoded images."""
        rows: np.ndarray = self._ask(_Tools.embed_pixels, pixels)
        return rows

    def advise(self) -> list[str]:
        """How the next extraction could be faster."""
        advice: list[str] = self._ask(_Tools.advise)
        return advice

    def embed(self, batch: list[Path]) -> Embedded:
        embedded: Embedded = self._ask(_Tools.embed, batch)
        return embedded

    def _ask(self, function: Callable[..., Any], *arguments: object) -> Any:
        try:
            return self.call(function, *arguments)
        except ChildLostError as lost:
            raise FrostlineError(
                "A worker process ended early: out of memory, or killed by an image that crashes "
                f"the decoder. Expected it to run to the end. Received: {lost}\n"
                "What was finished is kept. Run the same command again: images that were being "
                "decoded are looked at one by one then. Fewer `jobs` take less memory."
            ) from lost


class _Tools:
    """What a worker process embeds with; they stay in it from batch to batch."""

    _held: tuple[Embed, BatchReader]

    @classmethod
    def prepare(
        cls, make_embedder: MakeEmbedder, batch_size: int | None, settings: ReaderSettings
    ) -> Described:
        share_turnstile(FileLock(settings.turnstile))
        embed = make_embedder(batch_size)
        cls._held = embed, BatchReader(settings, 1).__enter__()
        numbers = embed.n_features, embed.batch_size, embed.images_per_task
        return numbers, embed.record, embed.notes

    @classmethod
    def embed(cls, batch: list[Path]) -> Embedded:
        embed, read = cls._held
        return embed_files(batch, read, embed)

    @classmethod
    def embed_pixels(cls, pixels: np.ndarray) -> np.ndarray:
        embed, _ = cls._held
        return embed(pixels)

    @classmethod
    def advise(cls) -> list[str]:
        embed, _ = cls._held
        return embed.advise()
