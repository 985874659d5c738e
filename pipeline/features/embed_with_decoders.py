"""Embedding in this process, of images that other processes read, hash, check and decode.

For devices that are faster than the threads of one process can decode: those share Python's lock.
Rows are the same bit for bit.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from pipeline.features.embed import Embed, Embedded, embed_decoded
from pipeline.images.decoder_processes.pool import DecoderProcesses
from pipeline.images.decoding.read_batches import ReaderSettings
from pipeline.system.parallel import map_batches


class EmbedWithDecoders:
    """Embeds batches as soon as decoder processes have filled them.

    Args:
        embed: makes rows of pixels.
        settings: how images are read.
        n_decoders: number of processes.
        n_staged: batches that are computed, or wait to be.
    """

    def __init__(self, embed: Embed, settings: ReaderSettings, n_decoders: int, n_staged: int):
        self.record = embed.record
        self.notes = embed.notes
        self.n_features = embed.n_features
        self.batch_size = embed.batch_size
        self.images_per_task = embed.images_per_task
        self._embed = embed
        n_files = max(1, embed.images_per_task // settings.n_views)
        self._decoders = DecoderProcesses(settings, n_decoders, n_staged, n_files)
        self._open = ExitStack()

    def __enter__(self) -> "EmbedWithDecoders":
        self._open.enter_context(self._decoders)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def map(self, batches: Iterable[list[Path]]) -> Iterator[tuple[list[Path], Embedded]]:
        return map_batches(self._embed_batch, batches, self._decoders.n_slots)

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Rows of decoded images."""
        return self._embed(pixels)

    def advise(self) -> list[str]:
        """What the engine says."""
        return self._embed.advise()

    def describe_losses(self) -> list[str]:
        """What people should know of decoder processes that were lost, and how they ended."""
        losses = self._decoders.losses
        if not losses:
            return []
        return [
            f"{len(losses):,} time(s) a decoder process was lost and started again (the last one: "
            f"{losses[-1]}); the images that it had were decoded anew."
        ]

    def _embed_batch(self, paths: list[Path]) -> tuple[list[Path], Embedded]:
        with self._decoders.decode(paths) as batch:
            return paths, embed_decoded(paths, batch.outcomes, batch.pixels, self._embed)
