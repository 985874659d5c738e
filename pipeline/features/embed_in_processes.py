"""Embedding in worker processes, each with a network of its own (joblib's loky).

For machines where threads of one process get in each other's way. Rows are the same bit for bit;
each worker takes the time and the memory that starting TensorFlow takes.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from filelock import FileLock

from pipeline.errors import FrostlineError
from pipeline.features.embed import Embed, Embedded, MakeEmbedder, embed_files
from pipeline.images.decoding.decode import share_turnstile
from pipeline.images.decoding.read_batches import BatchReader, ReaderSettings
from pipeline.recipe import EngineRecord
from pipeline.system.parallel import map_batches


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
        from joblib.externals.loky import ProcessPoolExecutor

        self._n_jobs = n_jobs
        self._pool = ProcessPoolExecutor(
            n_jobs, initializer=_Worker.prepare, initargs=(make_embedder, batch_size, settings)
        )
        self.n_features = self.batch_size = self.images_per_task = 0
        self.record = EngineRecord()
        self.notes: list[str] = []

    def __enter__(self) -> "EmbedInProcesses":
        try:
            numbers, record, self.notes = self._ask(_describe)
            self.n_features, self.batch_size, self.images_per_task = numbers
            self.record = replace(record, n_threads=self._n_jobs)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        self._pool.shutdown(kill_workers=True)

    def map(self, batches: Iterable[list[Path]]) -> Iterator[tuple[list[Path], Embedded]]:
        with _lost_workers_named():
            yield from map_batches(_embed_batch, batches, self._n_jobs, self._pool)

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        return self._ask(_embed_pixels, pixels)

    def _ask(self, question: Callable, *arguments):
        with _lost_workers_named():
            return self._pool.submit(question, *arguments).result()


@contextmanager
def _lost_workers_named() -> Iterator[None]:
    """Turns loky's error for a worker that is gone into one for people."""
    from joblib.externals.loky.process_executor import BrokenProcessPool

    try:
        yield
    except BrokenProcessPool as error:
        raise FrostlineError(
            "A worker process ended early: out of memory, or killed by an image that crashes the "
            "decoder. Expected it to run to the end. Received: "
            f"{str(error).strip().splitlines()[0]}\nWhat was finished is kept. Run the same "
            "command again: images that were being decoded are looked at one by one then. Fewer "
            "--jobs take less memory."
        ) from error


class _Worker:
    """What one worker process holds: made when it is first needed, so that errors travel back."""

    _arguments: tuple | None = None
    _made: tuple[Embed, BatchReader] | None = None

    @classmethod
    def prepare(cls, *arguments) -> None:
        # An isolated decoder is a process of its own; it would not understand loky's own method.
        multiprocessing.set_start_method("spawn", force=True)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that started it
        cls._arguments = arguments

    @classmethod
    def get(cls) -> tuple[Embed, BatchReader]:
        if cls._made is None:
            make_embedder, batch_size, settings = cls._arguments
            share_turnstile(FileLock(settings.turnstile))
            cls._made = make_embedder(batch_size), BatchReader(settings, 1).__enter__()
        return cls._made


def _describe() -> tuple[tuple[int, int, int], EngineRecord, list[str]]:
    embed, _ = _Worker.get()
    return (embed.n_features, embed.batch_size, embed.images_per_task), embed.record, embed.notes


def _embed_pixels(pixels: np.ndarray) -> np.ndarray:
    embed, _ = _Worker.get()
    return embed(pixels)


def _embed_batch(batch: list[Path]) -> tuple[list[Path], Embedded]:
    embed, read = _Worker.get()
    return batch, embed_files(batch, read, embed)
