"""The features in two dimensions: images that the backbone finds alike lie near each other.

t-SNE by openTSNE on the first 50 principal components; see its authors' advice in D. Kobak and
P. Berens, "The art of using t-SNE for single-cell transcriptomics", Nature Communications 10, 2019:
begun from the principal components, so that the rough order of groups is kept, and the same map
comes out each time.
"""

from collections.abc import Callable
from itertools import count

import numpy as np

from pipeline.system.progress import OnProgress

MOST_POINTS = 20_000
N_COMPONENTS = 50
MOST_FEATURES = 2048  # of more, as many random directions of them are taken first
FEWEST_POINTS = 20  # for t-SNE; fewer are shown by their principal components
# 125 iterations of early exaggeration and 250 more, half of openTSNE's default, which takes twice
# the time and keeps hardly more neighbours together (docs/report.md).
N_ROUNDS, _EARLY_ROUNDS, _ROUND = 15, 5, 25
_PERPLEXITY = 30
_MANY = 3000  # from so many points on, interpolation is faster than a tree
_ROWS_PER_BLOCK = 4096


def choose_points(known: np.ndarray, important: np.ndarray, most: int = MOST_POINTS) -> np.ndarray:
    """Which images are on the map: all, or of many the important ones and others evenly spaced.

    Args:
        known: int64, numbers of the images that have features.
        important: int64, those that must not be missing as long as there is room.
        most: how many have room.

    Returns:
        Numbers of images, int64, in order.
    """
    if len(known) <= most:
        return known
    wanted = important[np.isin(important, known)][:most]
    others = np.setdiff1d(known, wanted, assume_unique=True)
    evenly = np.linspace(0, len(others) - 1, most - len(wanted)).astype(np.int64)
    chosen: np.ndarray = np.sort(np.concatenate([wanted, others[evenly]]))
    return chosen


def draw_map(
    read: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> np.ndarray:
    """Places in the plane, float64 `(n_images, 2)`, 0..1; the same for the same features.

    Args:
        read: features of images by number, float32 `(n, n_features)`.
        images: int64 `(n_images,)`.
        on_progress: called with a stage, and how many of how many rounds are done.
    """
    components = _find_components(_read_narrow(read, images))
    if len(images) < FEWEST_POINTS or not np.ptp(components[:, 0]):  # few, or all the same
        return _to_unit_square(components[:, :2])
    from openTSNE import TSNE
    from openTSNE.initialization import rescale

    rounds = count(1)

    def tell(*_: object) -> bool:
        on_progress("Mapping", next(rounds), N_ROUNDS)
        return False  # go on

    embedding = TSNE(
        perplexity=min(_PERPLEXITY, (len(images) - 1) / 3),
        initialization=rescale(components[:, :2]),
        early_exaggeration_iter=_ROUND * _EARLY_ROUNDS,
        n_iter=_ROUND * (N_ROUNDS - _EARLY_ROUNDS),
        neighbors="exact",
        negative_gradient_method="fft" if len(images) > _MANY else "bh",
        n_jobs=1,  # two threads took more of two cores, and no less time
        callbacks=tell,
        callbacks_every_iters=_ROUND,
        random_state=0,
    ).fit(components)
    return _to_unit_square(np.asarray(embedding))


def _read_narrow(read: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
    """Features of images, or where these are very wide, random directions of them.

    Source: W. Johnson and J. Lindenstrauss, "Extensions of Lipschitz mappings into a Hilbert
    space", 1984: distances stay nearly as they are.
    """
    directions = None
    parts = []
    for start in range(0, len(images), _ROWS_PER_BLOCK):
        block = read(images[start : start + _ROWS_PER_BLOCK])
        if block.shape[1] > MOST_FEATURES:
            if directions is None:
                random = np.random.default_rng(0)
                shape = (block.shape[1], MOST_FEATURES)
                directions = random.standard_normal(shape, np.float32)
            block = block @ directions
        parts.append(block)
    return np.concatenate(parts)


def _find_components(features: np.ndarray) -> np.ndarray:
    """The first principal components, float64 `(n_samples, 2 to N_COMPONENTS)`.

    Each has the sign that makes its greatest weight positive, so that no machine mirrors the map.
    """
    centred = features - features.mean(axis=0)
    n_samples, n_features = centred.shape
    if n_samples < n_features:
        _, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64))
        axes = centred.T.astype(np.float64) @ vectors[:, ::-1][:, :N_COMPONENTS]
        axes /= np.maximum(np.linalg.norm(axes, axis=0), np.finfo(np.float64).tiny)
    else:
        _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        axes = vectors[:, ::-1][:, :N_COMPONENTS]
    greatest = np.abs(axes).argmax(axis=0)
    axes = axes * np.where(axes[greatest, np.arange(axes.shape[1])] < 0, -1, 1)
    components = centred.astype(np.float64) @ axes
    missing = max(0, 2 - components.shape[1])
    return np.pad(components, ((0, 0), (0, missing)))


def _to_unit_square(places: np.ndarray) -> np.ndarray:
    """Moved and shrunk, the same in both directions, so that distances keep their proportions."""
    low, high = places.min(axis=0), places.max(axis=0)
    side = float((high - low).max()) or 1.0
    inside: np.ndarray = 0.5 + (places - (low + high) / 2) / side
    return np.clip(inside, 0, 1)
