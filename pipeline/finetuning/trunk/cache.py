"""The trunk cache: what the frozen trunk makes of each image, float16, by the rules of the
feature file.

With the trunk frozen its output never changes, so an epoch may begin at the frost line. A row is
known by the image's digest and the view; the file by everything else that decides its numbers.
"""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import h5py
import numpy as np

from pipeline.errors import FeatureFileError
from pipeline.features.feature_file import read_part
from pipeline.features.finished_rows import BLOCK_ROWS, RowSource
from pipeline.system.atomic_files import OutputFile, rename, storage_errors
from pipeline.system.sealed_hdf5 import (
    VERSION,
    damage_named,
    open_sealed,
    read_rows,
    verify_seal,
    write_rows,
    write_sealed,
)

FORMAT = "frostline-trunk"
MEMORY_BYTES = 2_000_000_000
_BLOCK_BYTES = 64_000_000


@dataclass(frozen=True)
class Trunk:
    """Everything that decides a row but the image and the number of its view.

    Args:
        recipe_id: of the backbone and its pixels.
        model_sha256: of the `model.keras` that the trunk was taken from, empty for the
            backbone's own weights.
        line: the frost line.
        shape: of the tensor there: (height, width, channels).
        augmentation: how views above 0 are made, empty where there are none.
    """

    recipe_id: str
    model_sha256: str
    line: str
    shape: tuple[int, ...]
    augmentation: str

    @property
    def id(self) -> str:
        """sha256 of the canonical JSON, 64 hex digits."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def row_bytes(self) -> int:
        return 2 * int(np.prod(self.shape))


def key_of(digest: np.ndarray, view: int) -> np.ndarray:
    """What a row is known by, uint8 (32,): the image's digest for view 0, else of both."""
    if view == 0:
        return digest
    return np.frombuffer(
        hashlib.sha256(digest.tobytes() + view.to_bytes(8, "little")).digest(), np.uint8
    )


def parts_folder(target: Path) -> Path:
    return target.with_name(target.name + ".parts")


def find_finished(target: Path, trunk: Trunk) -> tuple[list[RowSource], int | None, int, list[str]]:
    """What there is already: row sources, their batch size, the next part's number, notes.

    Damaged files are set aside by name.
    """
    sources, notes, batch_size, next_part = [], [], None, 1
    if target.exists():
        try:
            verify_seal(target)
            with TrunkCache(target, trunk) as cache:
                sources.append(RowSource(target, "features", cache.keys, "kept"))
                batch_size = cache.batch_size
        except FeatureFileError as error:
            notes.append(_set_aside(target, error))
    for path in sorted(parts_folder(target).glob("part-*.h5")):
        next_part = int(path.stem.split("-")[1]) + 1
        try:
            keys, engine, _ = read_part(path, trunk)
        except FeatureFileError as error:
            notes.append(_set_aside(path, error))
            continue
        batch_size = batch_size or engine.batch_size
        sources.append(RowSource(path, "features", keys, "resumed"))
    return sources, batch_size, next_part, notes


def _set_aside(path: Path, error: FeatureFileError) -> str:
    aside = path.with_name(path.name + ".set-aside")
    with storage_errors(aside):
        rename(path, aside)
    return f"Set aside {aside}, none of its rows is used: {error}"


def block_rows(trunk: Trunk) -> int:
    """Rows to move at a time, so that memory is bounded."""
    return max(1, min(BLOCK_ROWS, _BLOCK_BYTES // trunk.row_bytes))


def write_trunk_cache(
    target: Path, trunk: Trunk, keys: np.ndarray, blocks: Iterable[np.ndarray], batch_size: int
) -> None:
    """Writes a whole trunk cache.

    Args:
        keys: uint8 (n_rows, 32).
        blocks: float16 (any number of rows, n_values) each, all rows in order.
    """

    def fill(file: h5py.File, output: OutputFile) -> None:
        shape = (len(keys), int(np.prod(trunk.shape)))
        hasher = hashlib.sha256()
        write_rows(file, "features", blocks, shape, output, hasher, dtype=np.float16)
        file["key"] = keys
        file.attrs.update(
            {
                "format": FORMAT,
                "version": VERSION,
                "trunk": json.dumps(asdict(trunk)),
                "trunk_id": trunk.id,
                "batch_size": batch_size,
                "features_sha256": hasher.hexdigest(),
            }
        )

    write_sealed(target, fill)


class TrunkCache:
    """A trunk cache open for reading; its rows lie in memory where they fit.

    Raises:
        FeatureFileError: it is none, is damaged, or is of another trunk.
    """

    def __init__(self, path: Path, trunk: Trunk, *, memory_bytes: int = MEMORY_BYTES):
        self.path = Path(path)
        self._shape = trunk.shape
        self._opened = open_sealed(self.path, FORMAT)
        self._file = self._opened.__enter__()
        try:
            if self._file.attrs["trunk_id"] != trunk.id:
                raise FeatureFileError(
                    f"{self.path} holds another trunk's output. Expected {trunk}. "
                    f"Received: {self._file.attrs['trunk']}"
                )
            with damage_named(self.path, "the small tables"):
                self.keys = self._file["key"][:]
                self.batch_size = int(self._file.attrs["batch_size"])
        except FeatureFileError:
            self.close()
            raise
        self._row_of = {key.tobytes(): row for row, key in enumerate(self.keys)}
        self._memory_bytes = memory_bytes
        self._in_memory: np.ndarray | None = None

    def __enter__(self) -> "TrunkCache":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def close(self) -> None:
        self._opened.__exit__(None, None, None)

    def __contains__(self, key: bytes) -> bool:
        return key in self._row_of

    def read(self, keys: np.ndarray) -> np.ndarray:
        """float16 (n_keys, height, width, channels) of uint8 keys (n_keys, 32), in their order."""
        if self._in_memory is None and self._file["features"].nbytes <= self._memory_bytes:
            with damage_named(self.path, "the rows"):
                self._in_memory = self._file["features"][:]
        rows = np.array([self._row_of[key.tobytes()] for key in keys], np.int64)
        if self._in_memory is not None:
            values = self._in_memory[rows]
        else:
            with damage_named(self.path, "the rows"):
                values = read_rows(self._file["features"], rows)
        return values.reshape(len(keys), *self._shape)


def remove_parts(target: Path) -> None:
    """Removes the parts whose rows are in the cache now; what was set aside stays."""
    folder = parts_folder(target)
    for path in folder.glob("part-*.h5"):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # something was set aside, or there never was a part
        folder.rmdir()
