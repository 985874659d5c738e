"""Finished rows of features and where they lie: the old file, its retired rows, parts of a run
that was killed, other files of the same recipe; and the parts of the run that goes on.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import FeatureFileError
from pipeline.features.feature_file import Contents, FeatureFile, read_part, write_part
from pipeline.recipe import Recipe
from pipeline.system import disk
from pipeline.system.disk import storage_errors
from pipeline.system.sealed_hdf5 import open_rows

PART_ROWS = 1024
PART_SECONDS = 10.0
BLOCK_ROWS = 1024


@dataclass(frozen=True)
class RowSource:
    """Finished rows: the data set `name` of an HDF5 file, a digest for each row.

    `kind` says how an image got its row: kept, resumed, reused or computed.
    """

    path: Path
    name: str
    digests: np.ndarray  # uint8 (n_rows, 32)
    kind: str


@dataclass(frozen=True)
class FinishedRows:
    """All finished rows of a recipe, by digest; where two sources have one, the first wins."""

    sources: list[RowSource]

    def __post_init__(self):
        places: dict[bytes, tuple[int, int]] = {}
        for number, source in enumerate(self.sources):
            for row, digest in enumerate(source.digests):
                places.setdefault(digest.tobytes(), (number, row))
        object.__setattr__(self, "_places", places)

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._places

    def kind_of(self, digest: bytes) -> str:
        return self.sources[self._places[digest][0]].kind

    def count_features(self) -> int:
        """Columns of the rows."""
        source = next(source for source in self.sources if len(source.digests))
        with open_rows(source.path, source.name) as read:
            return read(np.zeros(1, np.int64)).shape[1]

    def gather(self, digests: np.ndarray, block_rows: int = BLOCK_ROWS) -> Iterator[np.ndarray]:
        """Features in the order of `digests`, (at most `block_rows`, n_features) each."""
        for start in range(0, len(digests), block_rows):
            block_digests = digests[start : start + block_rows]
            places = np.array([self._places[digest.tobytes()] for digest in block_digests])
            block = None
            for number in np.unique(places[:, 0]):
                is_here = places[:, 0] == number
                with open_rows(self.sources[number].path, self.sources[number].name) as read:
                    rows = read(places[is_here, 1])
                if block is None:
                    block = np.empty((len(places), rows.shape[1]), rows.dtype)
                block[is_here] = rows
            yield block


@dataclass
class Found:
    """What was there before a run: row sources, the batch size that made them, what to say."""

    sources: list[RowSource]
    batch_size: int | None
    next_part: int
    notes: list[str]

    def count(self, kind: str) -> int:
        """Rows of the sources of one kind."""
        return sum(len(source.digests) for source in self.sources if source.kind == kind)


def find_rows(
    target: Path, parts_folder: Path, recipe: Recipe, old: Contents | None, *, reuse: bool
) -> Found:
    """Finds every finished row of the recipe; `old` is what the target holds, if it exists."""
    found = Found([], None, 1, [])
    if old is not None:
        found.batch_size = old.batch_size
        found.sources.append(RowSource(target, "features", old.images.digests, "kept"))
        found.sources.append(RowSource(target, "retired/features", old.retired, "reused"))
    for path in sorted(parts_folder.glob("part-*.h5")):
        found.next_part = int(path.stem.split("-")[1]) + 1
        try:
            digests, batch_size, _ = read_part(path, recipe)
        except FeatureFileError as error:
            _set_aside(path, error, found.notes)
            continue
        found.batch_size = found.batch_size or batch_size
        found.sources.append(RowSource(path, "features", digests, "resumed"))
    if reuse:
        _find_siblings(target, recipe, found)
    return found


def _set_aside(path: Path, error: FeatureFileError, notes: list[str]) -> None:
    aside = path.with_name(path.name + ".set-aside")
    with storage_errors(aside):
        disk.rename(path, aside)
    notes.append(f"Set aside {aside}, none of its rows is used: {error}")


def _find_siblings(target: Path, recipe: Recipe, found: Found) -> None:
    """Adds other feature files of the same recipe in the same folder."""
    for path in sorted(target.parent.glob("*.h5")):
        if path == target:
            continue
        try:
            with FeatureFile(path) as file:
                contents = file.contents
        except FeatureFileError as error:
            found.notes.append(f"Took no rows from {path}: {error}")
            continue
        if contents.recipe == recipe and found.batch_size in (None, contents.batch_size):
            found.batch_size = contents.batch_size
            found.sources.append(RowSource(path, "features", contents.images.digests, "reused"))
            found.sources.append(RowSource(path, "retired/features", contents.retired, "reused"))


class PartWriter:
    """Collects finished rows and writes them to a part file now and then.

    A part holds at most PART_ROWS rows or PART_SECONDS of work, so a kill loses no more.
    """

    def __init__(self, folder: Path, recipe: Recipe, batch_size: int, next_part: int):
        self.sources: list[RowSource] = []
        self._folder = folder
        self._recipe = recipe
        self._batch_size = batch_size
        self._next_part = next_part
        self._digests: list[np.ndarray] = []
        self._features: list[np.ndarray] = []
        self._since = time.monotonic()

    def add(self, digest: np.ndarray, features: np.ndarray) -> None:
        """Takes one finished row: uint8 (32,) and float32 (n_features,)."""
        self._digests.append(digest)
        self._features.append(features)
        if len(self._digests) >= PART_ROWS or time.monotonic() - self._since >= PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what was collected, if anything."""
        if self._digests:
            path = self._folder / f"part-{self._next_part:06d}.h5"
            digests = np.stack(self._digests)
            write_part(path, self._recipe, self._batch_size, digests, np.stack(self._features))
            self.sources.append(RowSource(path, "features", digests, "computed"))
            self._next_part += 1
            self._digests, self._features = [], []
        self._since = time.monotonic()


def remove_parts(folder: Path, sources: list[RowSource]) -> None:
    """Removes parts whose rows are in the feature file now; what was set aside stays."""
    for source in sources:
        if source.path.parent == folder:
            source.path.unlink(missing_ok=True)
    with suppress(OSError):  # something was set aside, or there never was a part
        folder.rmdir()
