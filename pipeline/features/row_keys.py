"""What the rows of images are known by: one for each view that is kept of an image."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.images.augmentation.views import Views

_BLOCK_IMAGES = 4096  # whose keys are held at once


class KnownKeys(Protocol):
    """Keys that have a row: `FinishedRows`, say."""

    def have(self, keys: np.ndarray) -> np.ndarray:
        """Which of them, bool (n_keys,); the keys are uint8 (n_keys, 32)."""
        ...


def as_texts(digests: np.ndarray) -> np.ndarray:
    """Digests, uint8 (n, 32), as texts of 32 bytes, which sort and compare as a whole."""
    return np.ascontiguousarray(digests).view("S32")[:, 0]


def unique_digests(digests: np.ndarray) -> np.ndarray:
    """The different ones, uint8 (n_different, 32), sorted."""
    return np.unique(as_texts(digests)).view(np.uint8).reshape(-1, 32)


@dataclass(frozen=True)
class RowKeys:
    """Names the rows of an image by its digest.

    Args:
        views: that are kept of each image; None = view 0 alone, whose row is known by the digest.
    """

    views: Views | None = None

    @property
    def numbers(self) -> range:
        """Of the views that are kept."""
        return range(1 if self.views is None else self.views.number)

    def of(self, digest: bytes) -> list[bytes]:
        """Of all views of an image, in order."""
        if self.views is None:
            return [digest]
        return [self.views.key_of(digest, view) for view in self.numbers]

    def name(self, digest: np.ndarray, numbers: list[int]) -> list[np.ndarray]:
        """Of some views of an image, uint8 (32,) each, in the order of their numbers."""
        keys = self.of(digest.tobytes())
        return [np.frombuffer(keys[view], np.uint8) for view in numbers]

    def of_views(self, digests: np.ndarray) -> np.ndarray:
        """Of the augmented views of images, image by image: uint8 (n_images * n_augmented, 32).

        Args:
            digests: uint8 (n_images, 32).
        """
        if self.views is None:
            return np.zeros((0, 32), np.uint8)
        keys = np.empty((len(digests), len(self.views.augmented), 32), np.uint8)
        for row, digest in enumerate(digests):
            others = b"".join(self.of(digest.tobytes())[1:])
            keys[row] = np.frombuffer(others, np.uint8).reshape(-1, 32)
        return keys.reshape(-1, 32)

    def of_all(self, digests: np.ndarray) -> np.ndarray:
        """Of all views of images, view 0 of all first: uint8 (n_images * n_views, 32)."""
        return np.concatenate([digests, self.of_views(digests)])

    def find_present(self, digests: np.ndarray, finished: KnownKeys) -> np.ndarray:
        """Which views of images have a row, bool (n_images, n_views).

        Args:
            digests: uint8 (n_images, 32).
            finished: keys that have a row.
        """
        is_present = np.zeros((len(digests), len(self.numbers)), bool)
        for start in range(0, len(digests), _BLOCK_IMAGES):
            block = digests[start : start + _BLOCK_IMAGES]
            found = is_present[start : start + len(block)]
            found[:, 0] = finished.have(block)
            found[:, 1:] = finished.have(self.of_views(block)).reshape(len(block), -1)
        return is_present

    def find_all_missing(
        self, digests: np.ndarray, skipped: Collection[int], finished: KnownKeys
    ) -> tuple[np.ndarray, list[int]]:
        """What must be computed.

        Args:
            digests: of the images, uint8 (n_images, 32).
            skipped: row numbers of images that have no features.
            finished: keys that have a row.

        Returns:
            The first row of each image that lacks a view, int64 (n_missing,), and the numbers of
            the views that one of them lacks.
        """
        is_present = self.find_present(digests, finished)
        lacking = np.flatnonzero(~is_present.all(axis=1))
        rows = lacking[~np.isin(lacking, list(skipped))]
        missing = rows[np.sort(np.unique(as_texts(digests[rows]), return_index=True)[1])]
        return missing, np.flatnonzero(~is_present[missing].all(axis=0)).tolist()
