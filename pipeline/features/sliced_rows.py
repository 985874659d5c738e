"""The rows of a file, sliced like an array, in no more memory than is allowed.

Rows that fit are read once and kept; the others are read anew whenever they are asked for. Who
takes slices of a few megabytes need not know which is which, and gets the same numbers.
"""

from collections.abc import Iterator
from typing import Protocol

import numpy as np

# The rest of the allowance is for the blocks that are being worked on.
KEPT_SHARE = 0.6


class RowFile(Protocol):
    """A feature file or a trunk cache, open for reading."""

    @property
    def shape(self) -> tuple[int, int]: ...

    def read_blocks(self) -> Iterator[np.ndarray]:
        """All rows in order, checked."""
        ...

    def read_span(self, start: int, stop: int) -> np.ndarray:
        """The rows from `start` to below `stop`."""
        ...

    def read_rows(self, rows: np.ndarray) -> np.ndarray:
        """Some rows, in the order asked for."""
        ...


class FeatureRows:
    """Read-only rows `(n_samples, n_features)`: float32 of a feature file, float16 of a trunk.

    Making it reads the whole file once and checks it. The file must stay open.

    Args:
        file: where the rows lie.
        memory: bytes for rows and for work on them.

    Raises:
        FeatureFileError: the features are damaged.
    """

    ndim = 2

    def __init__(self, file: RowFile, memory: int):
        self._file, self._memory = file, memory
        self.shape = n_samples, n_features = file.shape
        dtype = file.read_span(0, 0).dtype
        row_bytes = dtype.itemsize * n_features
        fits = n_samples * row_bytes <= memory
        n_kept = n_samples if fits else int(memory * KEPT_SHARE) // row_bytes
        self._kept = np.empty((n_kept, n_features), dtype)
        start = 0
        for block in file.read_blocks():
            kept = self._kept[start : start + len(block)]
            kept[:] = block[: len(kept)]
            start += len(block)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def kept_bytes(self) -> int:
        """Of the rows in memory."""
        return self._kept.nbytes

    @property
    def spare_bytes(self) -> int:
        """What copies of rows may take of the memory; nothing where not all rows are in it."""
        is_whole = self.n_kept == len(self)
        return max(0, self._memory - self.kept_bytes) if is_whole else 0

    @property
    def n_kept(self) -> int:
        """How many rows are in memory."""
        return len(self._kept)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Rows by a slice of step 1, or by their numbers in any order. Do not write into them."""
        if not isinstance(rows, slice):
            return self._take(np.asarray(rows, np.int64))
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"Expected a slice of step 1. Received: {rows}")
        kept = self._kept[start:stop]
        if len(kept) >= stop - start:
            return kept
        read = self._file.read_span(max(start, self.n_kept), stop)
        return np.concatenate([kept, read]) if len(kept) else read

    def _take(self, numbers: np.ndarray) -> np.ndarray:
        is_kept = numbers < self.n_kept
        rows = np.empty((len(numbers), self.shape[1]), self._kept.dtype)
        rows[is_kept] = self._kept[numbers[is_kept]]
        rows[~is_kept] = self._file.read_rows(numbers[~is_kept])
        return rows
