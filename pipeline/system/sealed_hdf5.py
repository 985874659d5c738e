"""HDF5 files that know whether they are whole: the mechanics below feature files and parts.

A file's first 512 bytes hold the sha256 of all the rest, which is compared before HDF5 sees a
byte. Rows of features carry HDF5's fletcher32 checksums and the small tables a sha256 of their own,
so that readers in other languages notice damage too, and a refusal can say what is damaged.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np

from pipeline.errors import FeatureFileError
from pipeline.system.atomic_files import atomic_output
from pipeline.system.child_process import ChildFailedError, ChildLostError, HelperProcess
from pipeline.system.disk import OutputFile

VERSION = 1
SEAL_BYTES = 512
_CHUNK_BYTES = 128 * 1024
_DIAGNOSED_ROWS = 1024
_DIAGNOSIS_SECONDS = 60.0
_SLOW_DISK = 50e6  # bytes a second
_SEAL_START = b"frostline sha256"
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_LARGE_DATASETS = {"features", "retired/features"}
_ANYWHERE = "some part"


def verify_seal(path: Path) -> None:
    """Compares the sha256 in the first 512 bytes with that of the rest of the file.

    Raises:
        FeatureFileError: they differ: at least one byte of the file has changed.
    """
    with damage_named(path, _ANYWHERE), Path(path).open("rb") as file:
        stated = file.read(SEAL_BYTES)
        actual = _seal(hashlib.file_digest(_Rest(file), "sha256").hexdigest())
    if stated != actual:
        raise damaged(path, _ANYWHERE, "its sha256 is not the one in its first 512 bytes")


def read_seal(path: Path) -> str:
    """What the first 512 bytes state: the sha256 of all bytes after them, as hex digits."""
    with damage_named(path, "its seal"), Path(path).open("rb") as file:
        return file.read(SEAL_BYTES).rstrip(b"\0\n").decode("ascii").rpartition(" ")[2]


class _Rest:
    """The rest of an open file, as `hashlib.file_digest` wants it: it would seek to the start."""

    def __init__(self, file):
        self.readinto = file.readinto

    def readable(self) -> bool:
        return True


def _seal(hexdigest: str) -> bytes:
    return _SEAL_START + f" of the bytes after 512: {hexdigest}\n".encode().ljust(
        SEAL_BYTES - len(_SEAL_START), b"\0"
    )


class _NeverFailing:
    """What HDF5 writes through: it never sees a write fail.

    A process in which HDF5 could not write may crash when HDF5 closes the file (seen: a
    segmentation fault at a full disk). So after a failure, which the output remembers, HDF5 is
    told that all is well until the file is closed; then the failure is raised.
    """

    def __init__(self, output: OutputFile):
        self._output = output
        self.read, self.seek, self.tell = output.read, output.seek, output.tell

    def write(self, data) -> int:
        if self._output.error is None:
            with suppress(OSError):
                self._output.write(data)
        return len(data)

    def readinto(self, buffer) -> int:
        n_read = self._output.readinto(buffer)
        memoryview(buffer)[n_read:] = bytes(len(buffer) - n_read)
        return len(buffer)

    def truncate(self, size: int | None = None) -> int:
        if self._output.error is None:
            with suppress(OSError):
                self._output.truncate(size)
        return size or 0

    def flush(self) -> None:
        """The output is not buffered."""


def write_sealed(target: Path, fill: Callable[[h5py.File, OutputFile], None]) -> None:
    """Writes an HDF5 file whole: `fill` puts everything into it.

    Args:
        fill: called with the HDF5 file and the output below it, whose `error` says whether it
            is still worth going on.

    Raises:
        StorageError: it cannot be written; what was there before still is.
    """
    with atomic_output(target) as output:
        with h5py.File(_NeverFailing(output), "w", userblock_size=SEAL_BYTES) as file:
            fill(file, output)
            file.attrs["tables_sha256"] = _hash_small_tables(file)
        if output.error is not None:
            raise output.error
        _write_seal(output)


def seal_again(path: Path) -> None:
    """Seals a file anew, after it was changed on purpose."""
    with path.open("r+b", buffering=0) as file:
        _write_seal(file)


def _write_seal(file) -> None:
    file.seek(SEAL_BYTES)
    hexdigest = hashlib.file_digest(_Rest(file), "sha256").hexdigest()
    file.seek(0)
    file.write(_seal(hexdigest))


@contextmanager
def open_sealed(path: Path, expected_format: str) -> Iterator[h5py.File]:
    """Opens a file for reading, after making sure that it is whole.

    HDF5 itself never sees a damaged file: it may crash on one (seen: a segmentation fault after
    the flip of a single byte), and a crash has no name.

    Raises:
        FeatureFileError: no such file, not one of Frostline's, of a newer format, or damaged;
            the message names what is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise FeatureFileError(
            f"There is no such feature file. Received: {path}\n"
            "`cli.py features` lists those in cache/, `cli.py extract DATA` makes one."
        )
    _require_signature(path)
    try:
        verify_seal(path)
    except FeatureFileError as error:
        raise damaged(path, diagnose(path), "these are not the bytes that were written") from error
    with damage_named(path, _ANYWHERE):
        file = h5py.File(path, "r")
    with file:
        with damage_named(path, "the attributes"):
            found, version = file.attrs.get("format"), int(file.attrs.get("version", 0))
        if found != expected_format:
            raise FeatureFileError(
                f"This HDF5 file was not written by Frostline, or is another kind of its files. "
                f"Expected the attribute format={expected_format!r}. Received: {path} with "
                f"format={found!r}"
            )
        if version > VERSION:
            raise FeatureFileError(
                f"{path} was written by a newer Frostline. Expected format version {VERSION} or "
                f"older. Received: version {version}\nUpdate Frostline to read it."
            )
        yield file


def _require_signature(path: Path) -> None:
    """Refuses what is no HDF5 file behind a seal, without asking HDF5."""
    with damage_named(path, _ANYWHERE), path.open("rb") as file:
        start = file.read(SEAL_BYTES + len(_HDF5_SIGNATURE))
    if start.startswith(_HDF5_SIGNATURE):
        raise FeatureFileError(
            f"This HDF5 file was not written by Frostline: its first {SEAL_BYTES} bytes are no "
            f"seal. Expected a file that `cli.py extract` wrote. Received: {path}"
        )
    if not start.startswith(_SEAL_START) and start[SEAL_BYTES:] != _HDF5_SIGNATURE:
        raise FeatureFileError(
            f"This is not a feature file. Expected an HDF5 file that `cli.py extract` wrote. "
            f"Received: {path}, which starts with {start[:16]!r}"
        )


def diagnose(path: Path) -> str:
    """Names what is damaged in a file whose seal is broken.

    Looks in a process of its own, since HDF5 may crash on damaged bytes, or never come back.
    """
    path = Path(path)
    try:
        with HelperProcess(is_quiet=True) as helper:
            seconds = _DIAGNOSIS_SECONDS + path.stat().st_size / _SLOW_DISK
            return str(helper.call(find_damage, path, seconds=seconds))
    except (ChildLostError, ChildFailedError):
        return "its structure"


def find_damage(path: Path) -> str:
    """Names what is damaged; HDF5 may crash while it looks."""
    with h5py.File(path, "r") as file:
        if _hash_small_tables(file) != file.attrs["tables_sha256"]:
            return "the small tables"
        for name in sorted(_LARGE_DATASETS & set(_all_datasets(file))):
            dataset = file[name]
            for start in range(0, len(dataset), _DIAGNOSED_ROWS):
                try:
                    dataset[start : start + _DIAGNOSED_ROWS]
                except OSError:
                    last = min(start + _DIAGNOSED_ROWS, len(dataset)) - 1
                    return f"the {name.replace('/', ' ')}, rows {start} to {last}"
    return "a place that holds no features and no labels"


def _hash_small_tables(file: h5py.File) -> str:
    """sha256 over the attributes and all data sets but the large ones, names and types too."""
    hasher = hashlib.sha256()
    for name in sorted(file.attrs):
        if name != "tables_sha256":
            hasher.update(f"{name}={_plain(file.attrs[name])}\n".encode())
    for name in sorted(_all_datasets(file)):
        item = file[name]
        hasher.update(f"{name}:{item.dtype}:{item.shape}\n".encode())
        if name in _LARGE_DATASETS:
            continue
        values = item[:]
        if values.dtype == object:
            for value in values:
                hasher.update(len(value).to_bytes(8, "little") + value)
        else:
            hasher.update(np.ascontiguousarray(values))
    return hasher.hexdigest()


def _all_datasets(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visit(names.append)
    return [name for name in names if isinstance(file[name], h5py.Dataset)]


def _plain(value) -> str:
    """An attribute as text that does not depend on the versions of numpy and h5py."""
    return value.hex() if isinstance(value, bytes) else str(value)


@contextmanager
def open_rows(path: Path, name: str) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """Gives a function that reads rows of one data set of a feature file or part.

    For whoever has checked the file before and now moves rows from it.
    """
    with damage_named(path, _ANYWHERE):
        file = h5py.File(path, "r")

    def read(rows: np.ndarray) -> np.ndarray:
        with damage_named(path, f"the data set {name!r}"):
            return read_rows(file[name], rows)

    with file:
        yield read


def write_rows(
    file: h5py.File,
    name: str,
    blocks: Iterable[np.ndarray],
    shape: tuple[int, int],
    output: OutputFile,
    hasher=None,
    dtype: type = np.float32,
) -> None:
    """Writes rows of floats as they come; the sum of the blocks' rows must be `shape[0]`.

    Raises:
        OSError: the output failed; there is no sense in going on.
    """
    n_rows, n_features = shape
    row_bytes = np.dtype(dtype).itemsize * max(1, n_features)
    rows_per_chunk = max(1, min(n_rows, _CHUNK_BYTES // row_bytes))
    dataset = file.create_dataset(
        name,
        shape,
        dtype,
        chunks=(rows_per_chunk, max(1, n_features)),
        maxshape=(None, n_features),
        fletcher32=True,
    )
    start = 0
    for block in blocks:
        data = np.ascontiguousarray(block, dtype)
        dataset[start : start + len(data)] = data
        start += len(data)
        if hasher is not None:
            hasher.update(data)
        if output.error is not None:
            raise output.error
    if start != n_rows:
        raise ValueError(f"{name}: expected {n_rows} rows, received {start}")


def write_strings(group: h5py.Group, name: str, strings: list[str]) -> None:
    dataset = group.create_dataset(name, (len(strings),), h5py.string_dtype("utf-8"))
    if strings:
        dataset[:] = np.array([os.fsencode(string) for string in strings], dtype=object)


def read_strings(dataset: h5py.Dataset) -> list[str]:
    return [os.fsdecode(value) for value in dataset[:]]


def read_rows(dataset: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
    """Rows in the order asked for; one read of the span where the rows lie close together."""
    rows = np.asarray(rows, np.int64)
    if len(rows) == 0:
        return np.zeros((0, *dataset.shape[1:]), dataset.dtype)
    first, last = int(rows.min()), int(rows.max())
    if last - first + 1 <= 4 * len(rows):
        return dataset[first : last + 1][rows - first]
    unique, inverse = np.unique(rows, return_inverse=True)
    return dataset[unique][inverse]


@contextmanager
def damage_named(path: Path, what: str) -> Iterator[None]:
    """Turns what h5py raises for damaged bytes into an error that names what is damaged."""
    try:
        yield
    except FeatureFileError:
        raise
    except Exception as error:
        # Damaged metadata can make HDF5 and h5py raise nearly anything.
        raise damaged(path, what, str(error)) from error


def damaged(path: Path, what: str, how: str) -> FeatureFileError:
    return FeatureFileError(
        f"{path} is damaged in {what}: {how}.\n"
        "Move the file away and run extract again; `cli.py features FILE --verify` checks a file."
    )
