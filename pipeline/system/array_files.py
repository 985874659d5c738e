"""Small files of numpy's, .npz and .npy, read without believing a byte of them.

No object is ever unpickled, and no more memory is taken than the file itself has, or than its
caller allows for what is compressed. Whatever is wrong ends in one error that says it in words.
"""

import hashlib
import io
import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from pipeline.system.atomic_files import atomic_output
from pipeline.system.expected_tables import Found, Table, compare_tables
from pipeline.system.paths import open_regular_file

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_SEAL_BYTES = 32  # of a sha256


class UnreadableError(Exception):
    """A file is missing, damaged, or not what it should be; the message says it in words."""


def read_arrays(
    path: Path, expected: Mapping[str, Table], *, most_unpacked: int = 0, with_others: bool = False
) -> dict[str, np.ndarray]:
    """Reads an .npz; every byte of an array is checked by the zip format's CRC.

    Args:
        expected: the arrays that must be there.
        most_unpacked: bytes that all arrays together may come to, where that is more than the
            file has.
        with_others: read the other arrays, too.

    Raises:
        UnreadableError: it is missing, damaged, or not as expected.
    """
    with _in_words(), open_regular_file(path) as whole, zipfile.ZipFile(whole) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        n_bytes = sum(info.file_size for info in archive.infolist())
        if n_bytes > max(os.fstat(whole.fileno()).st_size, most_unpacked):
            raise ValueError(f"its arrays claim {n_bytes:,} bytes")
        found: dict[str, Found] = {}
        for name, info in members.items():
            if name in expected or with_others:
                with archive.open(info) as file:
                    found[name], n_bytes = _read_header(file)
                if n_bytes != info.file_size:
                    raise ValueError(f"{name!r} claims {n_bytes:,} bytes, not {info.file_size:,}")
        compare_tables(found, expected)
        arrays = {}
        for name in found:
            with archive.open(members[name]) as file:
                arrays[name] = np.lib.format.read_array(file, allow_pickle=False)
    return arrays


def write_sealed_array(path: Path, array: np.ndarray) -> None:
    """Writes an .npy that ends with the sha256 of all before, which other readers pass over."""
    with atomic_output(path) as output:
        hasher = _Hashing(output)
        np.lib.format.write_array(hasher, np.ascontiguousarray(array), allow_pickle=False)
        output.write(hasher.sha256.digest())


def read_sealed_array(path: Path, expected: Table) -> np.ndarray:
    """Reads an .npy; one without a sha256 at its end is of an old version.

    Raises:
        UnreadableError: it is missing, damaged, or not as expected.
    """
    with _in_words(), open_regular_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        found, n_bytes = _read_header(file)
        compare_tables({path.name: found}, {path.name: expected})
        if size not in (n_bytes, n_bytes + _SEAL_BYTES):
            raise ValueError(f"it claims {n_bytes:,} bytes, not {size:,}")
        file.seek(0)
        data = file.read(n_bytes)
        if file.read() not in (b"", hashlib.sha256(data).digest()):
            raise ValueError("its sha256 is not the one at its end")
    array: np.ndarray = np.load(io.BytesIO(data), allow_pickle=False)
    return array


class _Hashing:
    """A file to write to that hashes what goes through."""

    def __init__(self, output: Any):
        self.sha256 = hashlib.sha256()
        self._output = output

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self._output.write(data)


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise UnreadableError("there is no such file") from error
    except OSError as error:
        raise UnreadableError(error.strerror or str(error)) from error
    except Exception as error:
        # zipfile, zlib and numpy raise a dozen kinds of error, according to which byte is damaged.
        raise UnreadableError(str(error).rstrip(".") or type(error).__name__) from error


def _read_header(file: IO[bytes]) -> tuple[Found, int]:
    """Type and shape of an array, and the bytes that it takes with its header."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"it is of version {version} of numpy's format")
    shape, _, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("it holds objects, which are never loaded")
    if not all(isinstance(length, int) and length >= 0 for length in shape):
        raise ValueError(f"it claims the shape {shape}")
    return (dtype, shape), file.tell() + dtype.itemsize * math.prod(shape)
