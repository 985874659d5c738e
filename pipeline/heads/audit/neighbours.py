"""The nearest other images of each image, by the cosine between their features.

Exact; the work grows with the square of the number of images, memory does not. Features are taken
as they are: centred first, they tell images of something else less well (docs/audit.md).
"""

from dataclasses import dataclass

import numpy as np

from pipeline.heads.blas_threads import one_blas_thread
from pipeline.heads.head import FeatureArray
from pipeline.system.parallel import count_cores, map_batches
from pipeline.system.progress import OnProgress

N_NEAREST = 10
_ROWS_PER_BLOCK = 2048
_ROWS_PER_TILE = 4096  # that a block is compared with at once: 32 MB of cosines


@dataclass(frozen=True)
class Neighbours:
    """The nearest other images of each row; equal images are one image, and no neighbours.

    Args:
        rows: int64 `(n_samples, k)`, row numbers, the nearest first; of equal images the first one.
            k is 10, or less where there are fewer other images.
        cosines: float32 `(n_samples, k)`, -1..1, falling.
    """

    rows: np.ndarray
    cosines: np.ndarray


def find_neighbours(
    features: FeatureArray,
    digests: np.ndarray,
    on_progress: OnProgress = lambda stage, done, total: None,
    *,
    n_nearest: int = N_NEAREST,
) -> Neighbours:
    """Compares all images with all others.

    Args:
        features: float32 `(n_samples, n_features)`, or what is sliced like it.
        digests: uint8 `(n_samples, 32)`, the same for equal images.
        on_progress: called with a stage, the number of images done and the number to do.
        n_nearest: how many neighbours at most.
    """
    _, firsts, which = np.unique(digests, axis=0, return_index=True, return_inverse=True)
    distinct = np.sort(firsts)
    place = np.searchsorted(distinct, firsts)[which.ravel()]
    n_nearest = min(n_nearest, len(distinct) - 1)
    blocks = [distinct[start : start + _ROWS_PER_BLOCK]
              for start in range(0, len(distinct), _ROWS_PER_BLOCK)]  # fmt: skip
    tiles = [distinct[start : start + _ROWS_PER_TILE]
             for start in range(0, len(distinct), _ROWS_PER_TILE)]  # fmt: skip

    def compare(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ours = _read_directions(features, block)
        found = np.zeros((len(block), n_nearest), np.int64)
        cosines = np.full((len(block), n_nearest), -np.inf, np.float32)
        for tile in tiles if n_nearest else ():
            near = ours @ _read_directions(features, tile).T
            _, own, same = np.intersect1d(block, tile, assume_unique=True, return_indices=True)
            near[own, same] = -np.inf
            _merge(found, cosines, near, tile)
        order = np.argsort(-cosines, axis=1, kind="stable")
        return np.take_along_axis(found, order, 1), np.take_along_axis(cosines, order, 1)

    rows = np.zeros((len(distinct), n_nearest), np.int64)
    cosines = np.zeros((len(distinct), n_nearest), np.float32)
    done = 0
    with one_blas_thread():
        for of_block, cosines_of_block in map_batches(compare, blocks, count_cores()):
            stop = done + len(of_block)
            rows[done:stop], cosines[done:stop] = of_block, cosines_of_block
            done = stop
            on_progress("Comparing", done, len(distinct))
    return Neighbours(rows[place], np.clip(cosines, -1, 1)[place])


def _merge(found: np.ndarray, cosines: np.ndarray, near: np.ndarray, tile: np.ndarray) -> None:
    """Takes those of a tile into the nearest so far that are nearer, in place."""
    is_nearer = near.max(axis=1) > cosines.min(axis=1)
    n_nearest = cosines.shape[1]
    own = near[is_nearer]
    best = np.argpartition(-own, min(n_nearest, own.shape[1] - 1), axis=1)[:, :n_nearest]
    all_cosines = np.hstack([cosines[is_nearer], np.take_along_axis(own, best, 1)])
    all_rows = np.hstack([found[is_nearer], tile[best]])
    kept = np.argpartition(-all_cosines, n_nearest - 1, axis=1)[:, :n_nearest]
    cosines[is_nearer] = np.take_along_axis(all_cosines, kept, 1)
    found[is_nearer] = np.take_along_axis(all_rows, kept, 1)


def _read_directions(features: FeatureArray, rows: np.ndarray) -> np.ndarray:
    """Rows of length 1, float32; one of zeros stays so."""
    first, last = int(rows[0]), int(rows[-1]) + 1
    is_span = last - first == len(rows)
    return to_directions(features[first:last] if is_span else features[rows])


def to_directions(features: np.ndarray) -> np.ndarray:
    """Rows `(n, n_features)` of length 1, float32; one of zeros stays so."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.maximum(lengths, np.finfo(np.float32).tiny)
