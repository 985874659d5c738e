"""Which images to label next: those that stand for most of the others, or those in doubt.

Pure: rows of features in, row numbers out.
"""

import warnings

import numpy as np

_MANY_ROWS = 20_000  # from which on k-means goes through them in batches
N_COMPONENTS = 64
N_NEIGHBOURS = 20
_ROWS_PER_BLOCK = 1024


def choose_typical(
    features: np.ndarray, n: int, is_labelled: np.ndarray, *, seed: int = 0
) -> np.ndarray:
    """One typical image of each of the largest groups of alike images that has no label yet.

    The directions of the rows from their mean, in 64 principal components, are put into as many
    k-means clusters as there will be labels; of each cluster, the largest first, the image is taken
    whose 20 nearest neighbours in it are the nearest.

    Args:
        features: float32 (n_samples, n_features).
        n: how many to choose.
        is_labelled: bool (n_samples,); at least `n` are not.
        seed: decides where k-means begins.

    Returns:
        Row numbers (n,), the most typical first.

    Source: G. Hacohen, A. Dekel and D. Weinshall, "Active learning on a budget: opposite strategies
    suit high and low budgets", ICML 2022 (TypiClust).
    """
    rows = _reduce(np.asarray(features, np.float32))
    n_labelled = int(is_labelled.sum())
    clusters = _cluster(rows, min(n + n_labelled, len(rows)), seed)
    chosen: list[int] = []
    is_taken = is_labelled.copy()
    while len(chosen) < n:
        for members in _order_clusters(clusters, is_taken):
            spreads = np.where(is_taken[members], np.inf, _measure_spread(rows[members]))
            best = int(members[spreads.argmin()])
            is_taken[best] = True
            chosen.append(best)
            if len(chosen) == n:
                break
    return np.array(chosen, np.int64)


def choose_doubtful(
    features: np.ndarray,
    probabilities: np.ndarray,
    n: int,
    is_labelled: np.ndarray,
    *,
    seed: int = 0,
) -> np.ndarray:
    """Images between whose two best classes a head can hardly decide, not all of one kind.

    Of the five times `n` images with the least margin, those that are typical.

    Args:
        features: float32 (n_samples, n_features).
        probabilities: (n_samples, n_classes) of a head that was fitted on the labelled images.
        n: how many to choose.
        is_labelled: bool (n_samples,).

    Returns:
        Row numbers (n,), the most typical first.
    """
    best = np.sort(probabilities, axis=1)[:, -2:]
    margins = best[:, 1] - best[:, 0]
    free = np.flatnonzero(~is_labelled)
    doubtful = free[np.argsort(margins[free], kind="stable")[: 5 * n]]
    nobody = np.zeros(len(doubtful), bool)
    return doubtful[choose_typical(features[doubtful], n, nobody, seed=seed)]


def _reduce(features: np.ndarray) -> np.ndarray:
    """Directions from the mean in a few principal components, float32 (n_samples, at most 64)."""
    from sklearn.utils.extmath import randomized_svd

    centred = features - features.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    directions = centred / np.maximum(lengths, np.finfo(np.float32).tiny)
    directions -= directions.mean(axis=0)
    n_components = min(N_COMPONENTS, *directions.shape)
    left, scales, _ = randomized_svd(directions, n_components, random_state=0)
    reduced: np.ndarray = left * scales
    return reduced


def _cluster(rows: np.ndarray, n_clusters: int, seed: int) -> list[np.ndarray]:
    """Row numbers of each cluster."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    kind = MiniBatchKMeans if len(rows) > _MANY_ROWS else KMeans
    with warnings.catch_warnings():  # of fewer different rows than clusters, which is no harm
        warnings.simplefilter("ignore", ConvergenceWarning)
        labels = kind(n_clusters, n_init=5, random_state=seed).fit_predict(rows)
    return [np.flatnonzero(labels == number) for number in range(n_clusters)]


def _order_clusters(clusters: list[np.ndarray], is_taken: np.ndarray) -> list[np.ndarray]:
    """Those with images to choose from: without a label before those with, the largest first."""
    free = [members for members in clusters if not is_taken[members].all()]
    return sorted(free, key=lambda members: (bool(is_taken[members].any()), -len(members)))


def _measure_spread(rows: np.ndarray) -> np.ndarray:
    """Mean distance of each row of a cluster to the 20 nearest others; 0 of a row alone."""
    if len(rows) == 1:
        return np.zeros(1)
    n_near = min(N_NEIGHBOURS, len(rows) - 1)
    spreads = []
    for start in range(0, len(rows), _ROWS_PER_BLOCK):
        some = rows[start : start + _ROWS_PER_BLOCK]
        squares = (some**2).sum(axis=1)[:, None] + (rows**2).sum(axis=1) - 2 * some @ rows.T
        nearest = np.partition(squares, n_near, axis=1)[:, : n_near + 1]  # itself is one of them
        spreads.append(np.sqrt(np.maximum(nearest, 0)).sum(axis=1) / n_near)
    return np.concatenate(spreads)
