"""The training images whose features are nearest to those of an image: why it was taken for that.

Exact, by cosine; the training rows are read block by block, so that they need not fit in memory.
"""

from collections.abc import Callable

import numpy as np

ROWS_PER_BLOCK = 4096


def find_neighbours(
    read: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    candidates: np.ndarray,
    n_nearest: int,
) -> np.ndarray:
    """The nearest candidates of each image, the nearest first.

    Args:
        read: features of images by number, float32 `(n, n_features)`, each of length 1.
        images: int64 `(n_images,)`. An image is no neighbour of its own.
        candidates: int64 `(n_candidates,)`.
        n_nearest: how many of each; there are fewer where there are fewer candidates.

    Returns:
        Image numbers, int64 `(n_images, n_nearest)`; -1 where there is none.
    """
    wanted = read(images)
    found = np.full((len(images), n_nearest), -1, np.int64)
    likeness = np.full((len(images), n_nearest), -np.inf, np.float32)
    for start in range(0, len(candidates), ROWS_PER_BLOCK):
        block = candidates[start : start + ROWS_PER_BLOCK]
        alike = wanted @ read(block).T
        alike[images[:, None] == block[None, :]] = -np.inf
        n_kept = min(n_nearest, len(block))
        places = np.argpartition(-alike, n_kept - 1, axis=1)[:, :n_kept]
        likeness = np.concatenate([likeness, np.take_along_axis(alike, places, 1)], axis=1)
        found = np.concatenate([found, block[places]], axis=1)
        order = np.argsort(-likeness, axis=1, kind="stable")[:, :n_nearest]
        likeness = np.take_along_axis(likeness, order, 1)
        found = np.take_along_axis(found, order, 1)
    found[np.isneginf(likeness)] = -1
    return found
