"""The augmented views in a feature file, as rows; view 0 is not among them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from pipeline.system.hdf5_damage import damage_named, damaged
from pipeline.system.hdf5_tables import read_flat_rows, read_rows, require_finite

_BLOCK_BYTES = 8 * 2**20


class ViewTable:
    """Augmented views, a row each: those of the first image, those of the second...

    Args:
        path: of the file, for messages.
        table: float32 (n_samples, n_views - 1, n_features); its file must stay open.
        sha256: of all its values, hex.

    Attributes:
        shape: (n_samples * (n_views - 1), n_features).
        n_augmented: views of an image, n_views - 1.
    """

    def __init__(self, path: Path, table: h5py.Dataset, sha256: str):
        self._path, self._table, self._sha256 = path, table, sha256
        n_samples, self.n_augmented, n_features = table.shape
        self.shape = n_samples * self.n_augmented, n_features

    def read_images(self, images: np.ndarray) -> np.ndarray:
        """Views of some images, float32 (n, n_views - 1, n_features), in the order asked for."""
        with damage_named(self._path, "the views"):
            return require_finite(read_rows(self._table, images))

    def read_all(self) -> np.ndarray:
        """The views of all images, float32 (n_samples, n_views - 1, n_features), checked.

        Raises:
            FeatureFileError: they are damaged.
        """
        views, start = np.empty(self.shape, np.float32), 0
        for block in self.read_blocks():
            views[start : start + len(block)] = block
            start += len(block)
        return views.reshape(self._table.shape)

    def read_blocks(self) -> Iterator[np.ndarray]:
        """All rows in order, block by block; at the end checked against their sha256.

        Raises:
            FeatureFileError: they are damaged.
        """
        hasher = hashlib.sha256()
        n_rows, n_features = self.shape
        step = max(1, _BLOCK_BYTES // (4 * n_features * self.n_augmented)) * self.n_augmented
        for start in range(0, n_rows, step):
            block = self.read_span(start, min(n_rows, start + step))
            hasher.update(np.ascontiguousarray(block).data)
            yield block
        if hasher.hexdigest() != self._sha256:
            raise damaged(self._path, "the views", "their sha256 is not the recorded one")

    def read_span(self, start: int, stop: int) -> np.ndarray:
        """Rows from `start` to below `stop`, checked by fletcher32."""
        first, last = start // self.n_augmented, -(-stop // self.n_augmented)
        with damage_named(self._path, "the views"):
            images = require_finite(self._table[first:last])
        rows = images.reshape(-1, self.shape[1])
        return rows[start - first * self.n_augmented :][: stop - start]

    def read_rows(self, rows: np.ndarray) -> np.ndarray:
        """Some rows, in the order asked for, each block checked by fletcher32."""
        with damage_named(self._path, "the views"):
            return require_finite(read_flat_rows(self._table, rows))
