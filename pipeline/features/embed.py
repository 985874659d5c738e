"""Batches of files to rows of features: reading, decoding and embedding in one task each."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.backbones.engines.network_store import NetworkStore
from pipeline.backbones.engines.opening import open_embedder
from pipeline.backbones.engines.recipe_network import describe_network
from pipeline.backbones.weights.resolve import ResolvedWeights
from pipeline.errors import BackboneError
from pipeline.features.finished_rows import PartWriter
from pipeline.recipe import EngineRecord, Recipe
from pipeline.system.parallel import in_batches, map_batches
from pipeline.system.progress import OnProgress

# From paths to (digest, pixels or the reason why there are none) of each.
ReadBatch = Callable[[list[Path]], list[tuple[np.ndarray, np.ndarray | str]]]


class Embed(Protocol):
    """What extraction needs of an embedder."""

    record: EngineRecord
    notes: list[str]
    n_features: int
    batch_size: int
    n_streams: int
    images_per_task: int

    def __call__(self, pixels: np.ndarray) -> np.ndarray: ...

    def advise(self) -> list[str]: ...


# From a batch size, None = what suits the device.
MakeEmbedder = Callable[[int | None], Embed]

# From the digest of an image, uint8 (32,), to what its rows are known by, uint8 (32,) each.
NameRows = Callable[[np.ndarray], list[np.ndarray]]

# (digest, reason or None) of each file, and the features of those without a reason: float32
# (n_usable, n_features), where several views are read of each (n_usable, n_views, n_features).
Embedded = tuple[list[tuple[np.ndarray, str | None]], np.ndarray]


class EmbedFiles(Protocol):
    """Batches of files to rows of features, several batches at once."""

    record: EngineRecord
    notes: list[str]
    n_features: int
    batch_size: int
    images_per_task: int

    def map(self, batches: Iterable[list[Path]]) -> Iterator[tuple[list[Path], Embedded]]:
        """Each batch with what became of it, in the order of the batches."""
        ...

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """float32 (n_samples, n_features) of a few images, uint8 RGB (n_samples, h, w, 3)."""
        ...

    def advise(self) -> list[str]:
        """How the next extraction could be faster, measured; may take a second."""
        ...


class EmbedInThreads:
    """Reads, decodes and embeds in threads of this process, a batch in each."""

    def __init__(self, embed: Embed, read: ReadBatch):
        self.record = embed.record
        self.notes = embed.notes
        self.n_features = embed.n_features
        self.batch_size = embed.batch_size
        self.images_per_task = embed.images_per_task
        self._embed = embed
        self._read = read

    def map(self, batches: Iterable[list[Path]]) -> Iterator[tuple[list[Path], Embedded]]:
        return map_batches(
            lambda batch: (batch, embed_files(batch, self._read, self._embed)),
            batches,
            self._embed.n_streams,
        )

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        return self._embed(pixels)

    def advise(self) -> list[str]:
        return self._embed.advise()


def make_embedder(
    recipe: Recipe,
    weights: ResolvedWeights,
    device: str,
    engine: str | None,
    batch_size: int | None = None,
    *,
    n_streams: int | None = None,
    network_store: bool = True,
    is_alone: bool = False,
    is_fast: bool = False,
) -> Embed:
    """Makes the recipe's network ready to run.

    Args:
        device: auto, cpu, gpu or gpu:N.
        engine: a key of `ENGINES`, None for the first that can run the network.
        batch_size, n_streams: None = what suits the device.
        network_store: keep the converted network for the next time, and take it from there.
        is_alone: this process does nothing but embed; see `open_embedder`.
        is_fast: see `Network`.
    """
    network = describe_network(recipe, weights, NetworkStore() if network_store else None)
    return open_embedder(
        replace(network, is_fast=is_fast),
        device,
        engine=engine,
        batch_size=batch_size,
        n_streams=n_streams,
        is_alone=is_alone,
    )


def embed_into_parts(
    paths: Iterable[Path],
    n_paths: int,
    files_to_rows: EmbedFiles,
    writer: PartWriter,
    on_failure: Callable[[Path, str], None],
    on_progress: OnProgress,
    *,
    n_views: int = 1,
    name_rows: NameRows = lambda digest: [digest],
) -> list[tuple[int, np.ndarray, str]]:
    """Embeds images into parts; whatever ends it early, Ctrl-C too, finished rows are there.

    Args:
        paths: taken as they are needed, since a million of them would fill the memory.
        n_paths: how many there are.
        on_failure: called with each image that cannot be used, and why.
        n_views: that are read of each file.
        name_rows: gives of an image's digest what its rows are known by, one for each view.

    Returns:
        Position in `paths`, digest (zeros where it cannot be read) and reason of each image that
        cannot be used.
    """
    failures = []
    done = 0
    on_progress("Embedding", 0, n_paths)
    try:
        batches = in_batches(paths, max(1, files_to_rows.images_per_task // n_views))
        for batch, (outcomes, features) in files_to_rows.map(batches):
            rows = iter(features)
            for position, (digest, reason) in enumerate(outcomes):
                if reason is None:
                    for name, row in zip(name_rows(digest), np.atleast_2d(next(rows)), strict=True):
                        writer.add(name, row)
                else:
                    failures.append((done + position, digest, reason))
                    on_failure(batch[position], reason)
            done += len(batch)
            on_progress("Embedding", done, n_paths)
    finally:
        writer.flush()
    return failures


def embed_files(paths: list[Path], read: ReadBatch, embed: Embed) -> Embedded:
    """Reads, decodes and embeds one batch.

    Returns:
        (digest, reason or None) of each file, and float32 (n_usable, n_features).

    Raises:
        BackboneError: the network's output is not finite.
    """
    outcomes: list[tuple[np.ndarray, str | None]] = []
    pixels = []
    for digest, decoded in read(paths):
        if isinstance(decoded, str):
            outcomes.append((digest, decoded))
        else:
            outcomes.append((digest, None))
            pixels.append(decoded)
    return embed_decoded(paths, outcomes, np.stack(pixels) if pixels else None, embed)


def embed_decoded(
    paths: list[Path],
    outcomes: list[tuple[np.ndarray, str | None]],
    pixels: np.ndarray | None,
    embed: Embed,
) -> Embedded:
    """Embeds one batch whose images are decoded.

    Args:
        outcomes: (digest, reason or None) of each file.
        pixels: uint8 RGB (n_usable, height, width, 3), or (n_usable, n_views, height, width, 3);
            None where no image can be used.

    Raises:
        BackboneError: the network's output is not finite.
    """
    if pixels is None or not len(pixels):
        return outcomes, np.zeros((0, embed.n_features), np.float32)
    views = pixels.shape[1:-3]  # none, or how many
    features = embed(pixels.reshape(-1, *pixels.shape[-3:]))
    features = features.reshape(len(pixels), *views, features.shape[1])
    is_finite = np.isfinite(features.reshape(len(pixels), -1)).all(axis=1)
    if not is_finite.all():
        usable = [path for path, (_, reason) in zip(paths, outcomes, strict=True) if reason is None]
        raise BackboneError(
            "The network gives numbers that are not finite. Expected features without NaN and "
            f"infinity. Received: such for {usable[int(is_finite.argmin())]}\n"
            "Its weights may be damaged, or 16 bits too few for it: use other `weights`, or "
            "`precision='float32'`."
        )
    return outcomes, features
