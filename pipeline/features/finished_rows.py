"""Finished rows and where they lie: the old file, its retired rows, parts of a run that was killed,
other files of the same recipe; and the parts of the run that goes on.

Feature files and trunk caches are made in the same way: what is computed goes to parts in a folder
beside the target, which a killed run resumes from, and at the end all rows become one file.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.errors import FeatureFileError
from pipeline.features.feature_file import Contents, FeatureFile
from pipeline.features.part_file import RowIdentity, read_part, write_part
from pipeline.features.row_keys import RowKeys, as_texts
from pipeline.features.spread.shard_number import are_other_shards
from pipeline.images.augmentation.views import Views
from pipeline.recipe import EngineRecord, Recipe
from pipeline.system import disk
from pipeline.system.disk import storage_errors
from pipeline.system.hdf5_tables import open_rows

PART_ROWS = 1024
PART_BYTES = 64_000_000
PART_SECONDS = 10.0
BLOCK_ROWS = 1024
_MOST_IN_A_DICT = 50_000  # rows; it takes some 200 bytes each, and finds one ten times as fast


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


class FinishedRows:
    """All finished rows of a recipe, by digest (those of augmented views by their own keys); where
    two sources have one, the first wins.
    """

    def __init__(self, sources: list[RowSource]):
        self.sources = sources
        # Sorted arrays: a dict of a million digests would take hundreds of megabytes.
        every = np.concatenate([np.zeros((0, 32), np.uint8), *(one.digests for one in sources)])
        self._keys, firsts = np.unique(as_texts(every), return_index=True)
        starts = np.cumsum([0, *(len(source.digests) for source in sources)])
        self._numbers = (np.searchsorted(starts, firsts, side="right") - 1).astype(np.int32)
        self._rows = firsts - starts[self._numbers]
        self._place_of: dict[bytes, int] | None = None
        if len(self._keys) <= _MOST_IN_A_DICT:
            raw = self._keys.tobytes()
            self._place_of = {raw[32 * n : 32 * n + 32]: n for n in range(len(self._keys))}

    def __contains__(self, digest: bytes) -> bool:
        if self._place_of is not None:
            return digest in self._place_of
        key = np.frombuffer(digest, "S32")
        place = np.searchsorted(self._keys, key)[0]
        return bool(place < len(self._keys) and self._keys[place] == key[0])

    def have(self, digests: np.ndarray) -> np.ndarray:
        """Which digests, uint8 (n, 32), have a row, bool (n,)."""
        return self.find_sources(digests) >= 0

    def find_sources(self, digests: np.ndarray) -> np.ndarray:
        """Numbers of the sources in which the rows of digests, uint8 (n, 32), lie: int32 (n,),
        -1 where there is none.
        """
        if not len(self._keys):
            return np.full(len(digests), -1, np.int32)
        keys = as_texts(digests)
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        is_there = self._keys[places] == keys
        return np.where(is_there, self._numbers[places], -1).astype(np.int32)

    def count_features(self) -> int:
        """Columns of the rows."""
        source = next(source for source in self.sources if len(source.digests))
        with open_rows(source.path, source.name) as read:
            return int(read(np.zeros(1, np.int64)).shape[1])

    def gather(self, digests: np.ndarray, block_rows: int = BLOCK_ROWS) -> Iterator[np.ndarray]:
        """Features in the order of `digests`, (at most `block_rows`, n_features) each."""
        for start in range(0, len(digests), block_rows):
            block_digests = digests[start : start + block_rows]
            places = self._find(as_texts(block_digests))
            yield self._read(self._numbers[places], self._rows[places])

    def _find(self, keys: np.ndarray) -> np.ndarray:
        places = np.searchsorted(self._keys, keys)
        if len(keys) and (places.max() == len(self._keys) or (self._keys[places] != keys).any()):
            raise KeyError("a digest has no finished row")
        return places

    def _read(self, numbers: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The rows at these places, in their order: the number of a source, and the row in it."""
        parts, order = [], []
        for number in np.unique(numbers):
            is_here = np.flatnonzero(numbers == number)
            source = self.sources[number]
            with open_rows(source.path, source.name) as read:
                parts.append(read(rows[is_here]))
            order.append(is_here)
        return np.concatenate(parts)[np.argsort(np.concatenate(order))]


@dataclass
class Found:
    """What was there before a run: row sources, the next part's number, what to say."""

    sources: list[RowSource] = field(default_factory=list)
    next_part: int = 1
    notes: list[str] = field(default_factory=list)

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
    target: Path,
    parts_folder: Path,
    recipe: Recipe,
    old: Contents | None,
    *,
    reuse: bool,
    engine: str | None = None,
    views: Views | None = None,
) -> Found:
    """Finds every finished row of the recipe; `old` is what the target holds, if it exists.

    Args:
        views: that are wanted; None = view 0 alone.
    """
    found = Found()
    if old is not None:
        found.sources += sources_of(target, old, "kept", views)
    find_parts(parts_folder, recipe, found)
    if reuse:
        _find_siblings(target, recipe, found, engine, views)
    return found


def sources_of(
    path: Path, contents: Contents, kind: str, views: Views | None = None
) -> list[RowSource]:
    """The rows of a feature file: those of its images, and those whose image is gone.

    Args:
        views: that are wanted: the file's augmented views are there only if they are made alike.
    """
    digests, retired = contents.images.digests, contents.retired
    engines = tuple(contents.engines)
    sources = [
        RowSource(path, "features", digests, kind, engines),
        RowSource(path, "retired/features", retired, "reused", engines),
    ]
    if views is None or not views.are_made_like(contents.views):
        return sources
    keys = RowKeys(contents.views)
    return [
        *sources,
        RowSource(path, "views", keys.of_views(digests), kind, engines),
        RowSource(path, "retired/views", keys.of_views(retired), "reused", engines),
    ]


def parts_folder_of(target: Path) -> Path:
    """Where the parts of a file lie while it is made: beside it."""
    return target.with_name(target.name + ".parts")


def find_parts(folder: Path, identity: RowIdentity, found: Found) -> None:
    """Adds the parts of a run that was killed; sets aside what is damaged or of something else."""
    for path in sorted(folder.glob("part-*.h5")):
        number = path.stem.removeprefix("part-")
        if not (number.isascii() and number.isdigit()):
            continue  # no part: somebody else's file
        found.next_part = int(number) + 1
        try:
            digests, engine, _ = read_part(path, identity)
        except FeatureFileError as error:
            found.notes.append(set_aside(path, error))
            continue
        found.sources.append(RowSource(path, "features", digests, "resumed", (engine,)))


def set_aside(path: Path, error: FeatureFileError) -> str:
    """Renames a file that is of no use, so that a person may look at it; says so.

    Args:
        error: why.
    """
    aside = path.with_name(path.name + ".set-aside")
    with storage_errors(aside):
        disk.rename(path, aside)
    return f"Set aside {aside}; what it held is computed anew: {_what_is_wrong(error)}"


def _what_is_wrong(error: FeatureFileError) -> str:
    """Its first line; the others say what to do, which is not for somebody who did not ask."""
    return str(error).partition("\n")[0]


def _find_siblings(
    target: Path, recipe: Recipe, found: Found, engine: str | None, views: Views | None
) -> None:
    """Adds other feature files of the same recipe in the same folder.

    Where there are rows already, only files of the same engines: a mixture costs bits, and a row
    that is not taken costs a moment. Where an engine was asked for, only files of that one. A shard
    finds nothing in the others.
    """
    for path in sorted(target.parent.glob("*.h5")):
        if path == target or are_other_shards(path.name, target.name):
            continue
        try:
            with FeatureFile(path) as file:
                contents = file.contents
        except FeatureFileError as error:
            found.notes.append(f"Took no rows from {path}: {_what_is_wrong(error)}")
            continue
        engines = found.list_engines()
        is_of_those = not engines or set(contents.engines) <= set(engines)
        is_as_asked = engine is None or {record.name for record in contents.engines} == {engine}
        if contents.recipe == recipe and is_of_those and is_as_asked:
            found.sources += sources_of(path, contents, "reused", views)


class PartWriter:
    """Collects finished rows and writes them to a part file now and then.

    A part holds about PART_ROWS rows, PART_BYTES or PART_SECONDS of work at most, so a kill loses
    no more, and memory does not grow with the length of a row.
    """

    def __init__(self, folder: Path, identity: RowIdentity, engine: EngineRecord, next_part: int):
        self.sources: list[RowSource] = []
        self._folder = folder
        self._identity = identity
        self._engine = engine
        self._next_part = next_part
        self._digests: list[np.ndarray] = []
        self._features: list[np.ndarray] = []
        self._since = time.monotonic()

    def add(self, digest: np.ndarray, features: np.ndarray) -> None:
        """Takes one finished row: uint8 (32,) and float32 or float16 (n_features,)."""
        self._digests.append(digest)
        self._features.append(features)
        n_rows = len(self._digests)
        if (
            n_rows >= PART_ROWS
            or n_rows * features.nbytes >= PART_BYTES
            or time.monotonic() - self._since >= PART_SECONDS
        ):
            self.flush()

    def flush(self) -> None:
        """Writes what was collected, if anything."""
        if self._digests:
            path = self._folder / f"part-{self._next_part:06d}.h5"
            digests = np.stack(self._digests)
            write_part(path, self._identity, self._engine, digests, np.stack(self._features))
            self.sources.append(RowSource(path, "features", digests, "computed", (self._engine,)))
            self._next_part += 1
            self._digests, self._features = [], []
        self._since = time.monotonic()


def remove_parts(folder: Path, sources: list[RowSource]) -> None:
    """Removes parts whose rows are in the one file now; what was set aside stays."""
    for source in sources:
        if source.path.parent == folder:
            source.path.unlink(missing_ok=True)
    with suppress(OSError):  # something was set aside, or there never was a part
        folder.rmdir()
