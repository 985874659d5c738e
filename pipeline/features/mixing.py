"""Rows of several engines in one file: measured, said, and refused where they differ too much.

Two engines agree to rounding, never to the bit. So before an engine adds to the rows of another, a
few images that have rows are embedded again and compared.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.errors import EngineError
from pipeline.features.embed import EmbedFiles
from pipeline.features.feature_file import Contents
from pipeline.features.finished_rows import FinishedRows
from pipeline.images.decoding.read_images import NO_LIMITS, read_image
from pipeline.recipe import EngineRecord, Recipe
from pipeline.system.hdf5_tables import open_rows

N_COMPARED = 8


@dataclass(frozen=True)
class Origin:
    """Rows of the same engines.

    Args:
        engines: what computed them, the sizes of batches apart.
        rows: which images of the data set have theirs from there.
    """

    engines: tuple[EngineRecord, ...]
    rows: list[int]

    def computes_like(self, engine: EngineRecord) -> bool:
        return all(one.computes_like(engine) for one in self.engines)

    def is_of(self, engines: list[EngineRecord]) -> bool:
        return self.engines == _without_batch_sizes(engines)

    def describe_others(self, engine: EngineRecord) -> str:
        """Names the engines that give other rows than this one."""
        return " and ".join(str(one) for one in self.engines if not one.computes_like(engine))


@dataclass(frozen=True)
class Sample:
    """Images and the rows that are there for them.

    Args:
        pixels: uint8 RGB (n_samples, height, width, 3).
        features: float32 (n_samples, n_features).
    """

    pixels: np.ndarray
    features: np.ndarray


def find_origins(finished: FinishedRows, digests: np.ndarray, old: Contents | None) -> list[Origin]:
    """Whose rows would be in one file.

    Args:
        digests: of the data set's images, uint8 (n_images, 32).
        old: the file so far, whose rows stay even where their image is gone.
    """
    rows_of: dict[tuple[EngineRecord, ...], list[int]] = {}
    if old is not None:
        rows_of[tuple(old.engines)] = []
    sources = finished.find_sources(digests)
    for number in np.unique(sources[sources >= 0]).tolist():
        rows = np.flatnonzero(sources == number).tolist()
        rows_of.setdefault(finished.sources[number].engines, []).extend(rows)
    alike: dict[tuple[EngineRecord, ...], list[int]] = {}
    for engines, rows in rows_of.items():
        alike.setdefault(_without_batch_sizes(engines), []).extend(rows)
    return [Origin(engines, sorted(rows)) for engines, rows in alike.items()]


def list_engines(finished: FinishedRows, digests: np.ndarray) -> list[EngineRecord]:
    """The engines that computed the rows of these images, in the order of the sources.

    Args:
        digests: uint8 (n_images, 32); all of them have rows.
    """
    numbers = np.unique(finished.find_sources(digests)).tolist()
    used = {finished.sources[number].engines for number in numbers}
    return list(
        dict.fromkeys(
            engine
            for source in finished.sources
            if source.engines in used
            for engine in source.engines
        )
    )


def sample_probes(path: Path, contents: Contents) -> Sample:
    """The probes of a feature file."""
    with open_rows(path, "features") as read:
        return Sample(contents.probe_pixels, read(contents.probe_rows))


def sample_images(
    paths: list[Path], digests: np.ndarray, recipe: Recipe, finished: FinishedRows
) -> Sample:
    """A few images, evenly spaced, decoded anew; those that changed meanwhile are left out.

    Args:
        paths: images that have finished rows.
        digests: theirs, uint8 (n_images, 32).
    """
    wanted = np.unique(np.linspace(0, len(paths) - 1, min(N_COMPARED, len(paths))).round())
    rows, pixels = [], []
    for row in wanted.astype(int).tolist():
        digest, decoded = read_image(paths[row], recipe, NO_LIMITS)
        if not isinstance(decoded, str) and np.array_equal(digest, digests[row]):
            rows.append(row)
            pixels.append(decoded)
    side = recipe.image_size
    if not rows:
        return Sample(np.zeros((0, side, side, 3), np.uint8), np.zeros((0, 0), np.float32))
    return Sample(np.stack(pixels), np.concatenate(list(finished.gather(digests[rows]))))


def describe_mixture(origin: Origin, sample: Sample, embedding: EmbedFiles) -> str:
    """Measures how far an engine is from the rows that are there, and says it.

    Raises:
        EngineError: further than rounding explains, or there is nothing to measure on.
    """
    at_hand, n_samples = embedding.record, len(sample.pixels)
    others = origin.describe_others(at_hand)
    if n_samples == 0:
        raise EngineError(
            f"Rows of {others} are there, and not one of their images can be read to compare them "
            f"with those of {at_hand}. Expected one image that is as it was.\n{_WAYS_OUT}"
        )
    greatest = float(np.abs(sample.features).max())
    difference = float(np.abs(embedding.embed(sample.pixels) - sample.features).max())
    difference /= max(greatest, 1e-30)
    tolerance = max(record.tolerance for record in (*origin.engines, at_hand))
    if not difference <= tolerance:
        raise EngineError(
            f"{at_hand} does not give the rows that are there, which are of {others}. Expected a "
            f"difference of at most {tolerance:g} of the greatest feature. Received: "
            f"{difference:.2g}, measured on {n_samples} images\n{_WAYS_OUT}"
        )
    return (
        f"Rows of {others} and of {at_hand} are mixed: greatest difference {difference:.2g} of "
        f"the greatest feature, measured on {n_samples} images."
    )


_WAYS_OUT = (
    "Extract anew, to another file (`output`) and without rows of other files (`reuse=False`); or "
    "compute with the engine and the device of the rows that are there (`engine`, `device`)."
)


def _without_batch_sizes(engines: Iterable[EngineRecord]) -> tuple[EngineRecord, ...]:
    return tuple(dict.fromkeys(replace(engine, batch_size=0) for engine in engines))
