"""HDF5 files that know whether they are whole: the mechanics below feature files and parts.

A file's first 512 bytes hold the sha256 of all the rest, which is compared before HDF5 sees a
byte. Rows of features carry HDF5's fletcher32 checksums and the small tables a sha256 of their own,
so that readers in other languages notice damage too, and a refusal can say what is damaged.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Protocol

import h5py

from pipeline.errors import FeatureFileError
from pipeline.system.atomic_files import atomic_output
from pipeline.system.disk import OutputFile
from pipeline.system.hdf5_damage import (
    ANYWHERE,
    damage_named,
    damaged,
    diagnose,
    hash_small_tables,
)
from pipeline.system.hdf5_trust import require_own_tables, require_plain_attributes
from pipeline.system.paths import denial, is_file, is_folder, is_pattern, open_regular_file
from pipeline.system.printable import name_some

VERSION = 1
SEAL_BYTES = 512
_SEAL_START = b"frostline sha256"
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


class RawFile(Protocol):
    """What is needed of a file to seal it."""

    def readinto(self, buffer: bytearray | memoryview, /) -> int | None: ...

    def seek(self, offset: int, /) -> int: ...

    def write(self, data: bytes, /) -> int | None: ...


def verify_seal(path: Path) -> None:
    """Compares the sha256 in the first 512 bytes with that of the rest of the file.

    Raises:
        FeatureFileError: they differ: at least one byte of the file has changed.
    """
    with damage_named(path, ANYWHERE), open_regular_file(Path(path)) as file:
        is_whole = _is_whole(file)
    if not is_whole:
        raise damaged(path, ANYWHERE, "its sha256 is not the one in its first 512 bytes")


def read_seal(file: h5py.File) -> str:
    """What the first 512 bytes of an open file state: the sha256 of all bytes after them, hex."""
    start = os.pread(file.id.get_vfd_handle(), SEAL_BYTES, 0)
    return start.rstrip(b"\0\n").decode("ascii").rpartition(" ")[2]


def _is_whole(file: BufferedReader) -> bool:
    stated = file.read(SEAL_BYTES)
    return stated == _seal(hashlib.file_digest(_Rest(file), "sha256").hexdigest())


class _Rest:
    """The rest of an open file, as `hashlib.file_digest` wants it: it would seek to the start."""

    def __init__(self, file: RawFile) -> None:
        self._file = file

    def readinto(self, buffer: bytearray, /) -> int:
        return self._file.readinto(buffer) or 0

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

    def write(self, data: bytes | memoryview) -> int:
        if self._output.error is None:
            with suppress(OSError):
                self._output.write(data)
        return len(data)

    def readinto(self, buffer: bytearray | memoryview) -> int:
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
            file.attrs["tables_sha256"] = hash_small_tables(file)
        if output.error is not None:
            raise output.error
        _write_seal(output)


def seal_again(path: Path) -> None:
    """Seals a file anew, after it was changed on purpose."""
    with path.open("r+b", buffering=0) as file:
        _write_seal(file)


def _write_seal(file: RawFile) -> None:
    file.seek(SEAL_BYTES)
    hexdigest = hashlib.file_digest(_Rest(file), "sha256").hexdigest()
    file.seek(0)
    file.write(_seal(hexdigest))


@contextmanager
def open_sealed(path: Path, expected_format: str) -> Iterator[h5py.File]:
    """Opens a file for reading, after making sure that it is whole and leads nowhere else.

    HDF5 itself never sees a damaged file: it may crash on one (seen: a segmentation fault after
    the flip of a single byte), and a crash has no name.

    Raises:
        FeatureFileError: no such file, not one of Frostline's, of a newer format, damaged, or
            made to lead out of itself; the message names what is damaged.
    """
    path = Path(path)
    if not is_file(path):
        raise FeatureFileError(_describe_missing(path))
    _require_signature(path)
    with _open_whole(path) as file:
        require_plain_attributes(path, file)
        with damage_named(path, "the attributes"):
            found, version = file.attrs.get("format"), int(file.attrs.get("version", 0))
        if found != expected_format:
            raise FeatureFileError(
                f"This HDF5 file was not written by Frostline, or is another kind of its files. "
                f"Expected the attribute format={expected_format!r}. Received: {path} with "
                f"format={str(found)[:100]!r}"
            )
        if version > VERSION:
            raise FeatureFileError(
                f"{path} was written by a newer Frostline. Expected format version {VERSION} or "
                f"older. Received: version {version}\nUpdate Frostline to read it."
            )
        require_own_tables(path, file)
        yield file


def _describe_missing(path: Path) -> str:
    if is_folder(path):
        inside = sorted(str(file) for file in path.glob("*.h5"))
        if inside:
            return (
                f"This is a folder. Expected a feature file. Received: {path}, which holds "
                f"{name_some(inside)}\nName one of them."
            )
        return (
            f"This is a folder. Expected a feature file. Received: {path}\n"
            "If it holds images, run extract first: "
            f"`frostline.extract({str(path)!r})` makes the file."
        )
    what = "No feature file matches" if is_pattern(path) else "There is no such feature file"
    return (
        f"{what}. Received: {path}{denial(path)}\n"
        "`frostline.list_features()` lists those in cache/; `frostline.extract(DATA)` makes one."
    )


def _open_whole(path: Path) -> h5py.File:
    """Opens the very file whose seal was compared: another may take its name at any moment."""
    while True:
        with damage_named(path, ANYWHERE), open_regular_file(path) as compared:
            if not _is_whole(compared):
                break
            file = h5py.File(path, "r")
            opened = os.fstat(file.id.get_vfd_handle())
            if os.path.samestat(opened, os.fstat(compared.fileno())):
                return file
            file.close()
    raise damaged(path, diagnose(path), "these are not the bytes that were written")


def _require_signature(path: Path) -> None:
    """Refuses what is no HDF5 file behind a seal, without asking HDF5."""
    try:
        with open_regular_file(path) as file:
            start = file.read(SEAL_BYTES + len(_HDF5_SIGNATURE))
    except OSError as error:
        raise FeatureFileError(
            f"This feature file cannot be read: {error.strerror}. Expected the right to read it, "
            f"and a disk that is there. Received: {path}"
        ) from error
    if start.startswith(_HDF5_SIGNATURE):
        raise FeatureFileError(
            f"This HDF5 file was not written by Frostline: its first {SEAL_BYTES} bytes are no "
            f"seal. Expected a file that `frostline.extract()` wrote. Received: {path}"
        )
    if not start.startswith(_SEAL_START) and start[SEAL_BYTES:] != _HDF5_SIGNATURE:
        raise FeatureFileError(
            f"This is not a feature file. Expected an HDF5 file that `frostline.extract()` wrote. "
            f"Received: {path}, which starts with {start[:16]!r}\n"
            "Features are made of images first: `frostline.extract(DATA)`."
        )
