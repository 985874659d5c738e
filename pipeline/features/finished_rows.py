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
from pipeline.recipe import EngineRecord, Recipe
from pipeline.system.atomic_files import rename, storage_errors
from pipeline.system.sealed_hdf5 import open_rows

PART_ROWS = 1024
PART_SECONDS = 10.0
BLOCK_ROWS = 1024


@dataclass(frozen=True)
class RowSource:
    """Finished rows: the data set `name` of an HDF5 file, a digest for each row.

    `kind` says how an image got its row: kept, resumed, reused or computed. `engines` are those
    that computed the rows.
    """

    path: Path
    name: str
    digests: np.ndarray  # uint8 (n_rows, 32)
    kind: str
    engines: tuple[EngineRecord, ...] = ()


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

    def source_of(self, digest: bytes) -> RowSource:
        return self.sources[self._places[digest][0]]

    def kind_of(self, digest: bytes) -> str:
        return self.source_of(digest).kind

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
    """What was there before a run: row sources, the next part's number, what to say."""

    sources: list[RowSource]
    next_part: int
    notes: list[str]

    def count(self, kind: str) -> int:
        """Rows of the sources of one kind."""
        return sum(len(source.digests) for source in self.sources if source.kind == kind)

    @property
    def batch_size(self) -> int | None:
        """Of the engine whose rows came first; None where that is not known."""
        return next((engine.batch_size or None for engine in self.list_engines()), None)

    def list_engines(self) -> list[EngineRecord]:
        """The engines that computed the rows, those of the target first."""
        engines = [e for source in self.sources if len(source.digests) for e in source.engines]
        return list(dict.fromkeys(engines))


def find_rows(
    target: Path, parts_folder: Path, recipe: Recipe, old: Contents | None, *, reuse: bool
) -> Found:
    """Finds every finished row of the recipe; `old` is what the target holds, if it exists."""
    found = Found([], 1, [])
    if old is not None:
        _add_file(target, old, "kept", found)
    for path in sorted(parts_folder.glob("part-*.h5")):
        found.next_part = int(path.stem.split("-")[1]) + 1
        try:
            digests, engine, _ = read_part(path, recipe)
        except FeatureFileError as error:
            _set_aside(path, error, found.notes)
            continue
        found.sources.append(RowSource(path, "features", digests, "resumed", (engine,)))
    if reuse:
        _find_siblings(target, recipe, found)
    return found


def _add_file(path: Path, contents: Contents, kind: str, found: Found) -> None:
    images, engines = contents.images, tuple(contents.engines)
    found.sources.append(RowSource(path, "features", images.digests, kind, engines))
    found.sources.append(RowSource(path, "retired/features", contents.retired, "reused", engines))


def _set_aside(path: Path, error: FeatureFileError, notes: list[str]) -> None:
    aside = path.with_name(path.name + ".set-aside")
    with storage_errors(aside):
        rename(path, aside)
    notes.append(f"Set aside {aside}, none of its rows is used: {error}")


def _find_siblings(target: Path, recipe: Recipe, found: Found) -> None:
    """Adds other feature files of the same recipe in the same folder.

    Where there are rows already, only files of the same engines: a mixture costs bits, and a row
    that is not taken costs a moment.
    """
    for path in sorted(target.parent.glob("*.h5")):
        if path == target:
            continue
        try:
            with FeatureFile(path) as file:
                contents = file.contents
        except FeatureFileError as error:
            found.notes.append(f"Took no rows from {path}: {error}")
            continue
        engines = found.list_engines()
        if contents.recipe == recipe and (not engines or set(contents.engines) <= set(engines)):
            _add_file(path, contents, "reused", found)


class PartWriter:
    """Collects finished rows and writes them to a part file now and then.

    A part holds at most PART_ROWS rows or PART_SECONDS of work, so a kill loses no more.
    """

    def __init__(self, folder: Path, recipe: Recipe, engine: EngineRecord, next_part: int):
        self.sources: list[RowSource] = []
        self._folder = folder
        self._recipe = recipe
        self._engine = engine
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
            write_part(path, self._recipe, self._engine, digests, np.stack(self._features))
            self.sources.append(RowSource(path, "features", digests, "computed", (self._engine,)))
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
