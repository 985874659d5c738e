"""Rows of floats and columns of text in HDF5: written as they come, read in any order."""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from pipeline.system.disk import OutputFile
from pipeline.system.expected_tables import Found, Table, compare_tables
from pipeline.system.hdf5_damage import ANYWHERE, damage_named

_CHUNK_BYTES = 128 * 1024
_STRINGS_PER_BLOCK = 4096


class Hasher(Protocol):
    """A hash of `hashlib`."""

    def update(self, data: Any, /) -> None: ...


def check_tables(file: h5py.File, expected: Mapping[str, Table]) -> dict[str, int]:
    """Compares types and shapes, without reading a value; gives the lengths by name.

    Raises:
        ValueError: a table is missing, or is not what it must be.
    """
    found: dict[str, Found] = {}
    for name in expected:
        dataset = file.get(name)
        if isinstance(dataset, h5py.Dataset):
            is_text = h5py.check_string_dtype(dataset.dtype) is not None
            found[name] = (None if is_text else dataset.dtype), dataset.shape
    return compare_tables(found, expected)


@contextmanager
def open_rows(path: Path, name: str) -> Iterator[Callable[[np.ndarray], np.ndarray]]:
    """Gives a function that reads rows of one data set of a feature file or part, those of views by
    `read_flat_rows`.

    For whoever has checked the file before and now moves rows from it.
    """
    with damage_named(path, ANYWHERE):
        file = h5py.File(path, "r")

    def read(rows: np.ndarray) -> np.ndarray:
        with damage_named(path, f"the data set {name!r}"):
            return require_finite(read_flat_rows(file[name], rows))

    with file:
        yield read


def write_rows(
    file: h5py.File,
    name: str,
    blocks: Iterable[np.ndarray],
    shape: tuple[int, ...],
    output: OutputFile,
    hasher: Hasher | None = None,
    dtype: type = np.float32,
) -> None:
    """Writes rows of floats as they come; the sum of the blocks' rows must be `shape[0]`.

    Args:
        shape: (n_rows, n_features); or (n_rows, n_views, n_features), each row a table of its own.

    Raises:
        OSError: the output failed; there is no sense in going on.
    """
    n_rows, *of_row = shape
    row_bytes = np.dtype(dtype).itemsize * max(1, math.prod(of_row))
    rows_per_chunk = max(1, min(n_rows, _CHUNK_BYTES // row_bytes))
    dataset = file.create_dataset(
        name,
        shape,
        dtype,
        chunks=(rows_per_chunk, *(max(1, length) for length in of_row)),
        maxshape=(None, *of_row),
        fletcher32=True,
    )
    start = 0
    with ThreadPoolExecutor(1) as beside:  # hashing takes as long as writing
        for block in blocks:
            data: np.ndarray = np.ascontiguousarray(block, dtype)
            hashed = None if hasher is None else beside.submit(hasher.update, data)
            dataset[start : start + len(data)] = data
            start += len(data)
            if hashed is not None:
                hashed.result()
            if output.error is not None:
                raise output.error
    if start != n_rows:
        raise ValueError(f"{name}: expected {n_rows} rows, received {start}")


def write_strings(group: h5py.Group, name: str, strings: list[str]) -> None:
    dataset = group.create_dataset(name, (len(strings),), h5py.string_dtype("utf-8"))
    for start in range(0, len(strings), _STRINGS_PER_BLOCK):  # each is held three times meanwhile
        some = strings[start : start + _STRINGS_PER_BLOCK]
        encoded = np.array([os.fsencode(string) for string in some], dtype=object)
        dataset[start : start + len(some)] = encoded


def read_strings(dataset: h5py.Dataset) -> list[str]:
    return [os.fsdecode(value) for value in dataset[:]]


def read_rows(dataset: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
    """Rows in the order asked for; one read of the span where the rows lie close together."""
    rows = np.asarray(rows, np.int64)
    if len(rows) == 0:
        return np.zeros((0, *dataset.shape[1:]), dataset.dtype)
    first, last = int(rows.min()), int(rows.max())
    if last - first + 1 <= 4 * len(rows):
        ordered: np.ndarray = dataset[first : last + 1][rows - first]
    else:
        unique, inverse = np.unique(rows, return_inverse=True)
        ordered = dataset[unique][inverse]
    return ordered


def read_flat_rows(dataset: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
    """Rows in the order asked for; in a table with views of images, which has three dimensions, the
    views are numbered one after another, image by image.
    """
    if dataset.ndim == 2:
        return read_rows(dataset, rows)
    images, of_image = np.divmod(np.asarray(rows, np.int64), max(1, dataset.shape[1]))
    unique, places = np.unique(images, return_inverse=True)
    found: np.ndarray = read_rows(dataset, unique)[places, of_image]
    return found


def require_finite(rows: np.ndarray) -> np.ndarray:
    """The rows, if all their values are numbers.

    Raises:
        ValueError: one is NaN or infinite.
    """
    if not np.isfinite(rows).all():
        raise ValueError("NaN or infinity, which no network's output is")
    return rows
