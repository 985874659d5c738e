"""The trunk cache: what the frozen trunk makes of each image, float16, by the rules of the
feature file.

With the trunk frozen its output never changes, so an epoch may begin at the frost line. A row is
known by the image's digest and the view; the file by everything else that decides its numbers.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

from pipeline.errors import FeatureFileError
from pipeline.features.finished_rows import (
    BLOCK_ROWS,
    Found,
    RowSource,
    find_parts,
    parts_folder_of,
    set_aside,
)
from pipeline.features.sliced_rows import FeatureRows
from pipeline.recipe import EngineRecord
from pipeline.system.disk import OutputFile
from pipeline.system.expected_tables import Table
from pipeline.system.hdf5_damage import damage_named
from pipeline.system.hdf5_tables import check_tables, read_rows, write_rows
from pipeline.system.sealed_hdf5 import VERSION, open_sealed, verify_seal, write_sealed

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


def find_finished(target: Path, trunk: Trunk) -> Found:
    """What there is already, in the cache and in parts; damaged files are set aside by name."""
    found = Found()
    if target.exists():
        try:
            verify_seal(target)
            with TrunkCache(target, trunk) as cache:
                engines = (EngineRecord(batch_size=cache.batch_size),)
                found.sources.append(RowSource(target, "features", cache.keys, "kept", engines))
        except FeatureFileError as error:
            found.notes.append(set_aside(target, error))
    find_parts(parts_folder_of(target), trunk, found)
    return found


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
    """A trunk cache open for reading; its rows lie in memory as far as they fit.

    Raises:
        FeatureFileError: it is none, is damaged, or is of another trunk.
    """

    def __init__(self, path: Path, trunk: Trunk, *, memory_bytes: int = MEMORY_BYTES):
        self.path = Path(path)
        self._trunk = trunk
        self._memory_bytes = memory_bytes
        self._opened = open_sealed(self.path, FORMAT)
        self._file = self._opened.__enter__()
        try:
            if self._file.attrs.get("trunk_id") != trunk.id:
                raise FeatureFileError(
                    f"{self.path} holds another trunk's output. Expected {trunk}. "
                    f"Received: {self._file.attrs.get('trunk')}"
                )
            with damage_named(self.path, "the small tables"):
                n_values = int(np.prod(trunk.shape))
                check_tables(
                    self._file,
                    {
                        "features": Table(np.float16, ("n_rows", n_values)),
                        "key": Table(np.uint8, ("n_rows", 32)),
                    },
                )
                self.keys = self._file["key"][:]
                self.batch_size = int(self._file.attrs["batch_size"])
        except FeatureFileError:
            self.close()
            raise
        self._row_of = {key.tobytes(): row for row, key in enumerate(self.keys)}

    def __enter__(self) -> "TrunkCache":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._opened.__exit__(None, None, None)

    def __contains__(self, key: bytes) -> bool:
        return key in self._row_of

    def read(self, keys: np.ndarray) -> np.ndarray:
        """float16 (n_keys, height, width, channels) of uint8 keys (n_keys, 32), in their order."""
        rows = np.array([self._row_of[key.tobytes()] for key in keys], np.int64)
        return self._rows[rows].reshape(len(keys), *self._trunk.shape)

    @cached_property
    def _rows(self) -> FeatureRows:
        """Read when they are first needed: who only counts them never does."""
        return FeatureRows(self, self._memory_bytes)

    @property
    def shape(self) -> tuple[int, int]:
        """(n_rows, n_values)"""
        n_rows, n_values = self._file["features"].shape
        return n_rows, n_values

    def read_blocks(self) -> Iterator[np.ndarray]:
        """All rows in order, float16 (any number of rows, n_values) each."""
        step = block_rows(self._trunk)
        for start in range(0, len(self.keys), step):
            yield self.read_span(start, min(start + step, len(self.keys)))

    def read_span(self, start: int, stop: int) -> np.ndarray:
        """float16 (stop - start, n_values), checked by fletcher32."""
        with damage_named(self.path, "the rows"):
            span: np.ndarray = self._file["features"][start:stop]
        return span

    def read_rows(self, rows: np.ndarray) -> np.ndarray:
        """float16 (n, n_values) of some rows, in the order asked for, checked by fletcher32."""
        with damage_named(self.path, "the rows"):
            return read_rows(self._file["features"], rows)
