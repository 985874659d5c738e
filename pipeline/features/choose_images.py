"""Which images to label next: those that stand for most of the others, or those in doubt.

Pure: rows of features in, row numbers out.
"""

import numpy as np

N_COMPONENTS = 32
_N_ITERATIONS = 15  # variances fall slowly, so fewer leave the last components to chance
# So many images at most compete and are to be covered: their similarities are a matrix of 256 MB.
_MOST_IMAGES = 8_000
_ROWS_PER_BLOCK = 1024
_LEAST_SPREAD = 1e-6  # of a feature's mean, below which it is rounding


def choose_typical(
    features: np.ndarray, n: int, is_labelled: np.ndarray, *, seed: int = 0
) -> np.ndarray:
    """The images that together are most like all others, beside those that have a label already.

    One after another, each time the image that adds most to the sum, over all images, of the cosine
    to the nearest that is labelled or chosen (facility location). The cosines are those of
    standardised features in 32 principal components. Of more than 8,000 images without a label, a
    random sample competes and is covered.

    Args:
        features: float32 (n_samples, n_features).
        n: how many to choose.
        is_labelled: bool (n_samples,); at least `n` are not.
        seed: decides the sample.

    Returns:
        Row numbers (n,), the most typical first.

    Source: K. Wei, R. Iyer and J. Bilmes, "Submodularity in data subset selection and active
    learning", ICML 2015; the order of the tries is that of M. Minoux's accelerated greedy
    algorithm (1978).
    """
    rows = _reduce(np.asarray(features, np.float32))
    free = np.flatnonzero(~is_labelled)
    if len(free) > max(_MOST_IMAGES, n):
        random = np.random.default_rng(seed)
        free = np.sort(random.choice(free, max(_MOST_IMAGES, n), replace=False))
    near = rows[free] @ rows[free].T
    covered = _cover(rows[free], rows[is_labelled])
    chosen: list[int] = []
    # What each would add at most: it adds less and less as others are chosen.
    most = np.full(len(free), np.inf)
    while len(chosen) < n:
        best = int(most.argmax())
        adds = float(np.maximum(near[best] - covered, 0).sum(dtype=np.float64))
        most[best] = -np.inf
        if adds >= most.max():
            chosen.append(best)
            covered = np.maximum(covered, near[best])
        else:
            most[best] = adds
    return free[np.array(chosen, np.int64)]


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
    """Unit vectors in a few principal components, float32 (n_samples, at most 32)."""
    from sklearn.utils.extmath import randomized_svd

    tiny = np.finfo(np.float32).tiny
    mean = features.mean(axis=0)
    directions = features - mean
    directions /= np.maximum(directions.std(axis=0), _LEAST_SPREAD * np.abs(mean) + tiny)
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), tiny)
    directions -= directions.mean(axis=0)
    n_components = min(N_COMPONENTS, *directions.shape)
    left, scales, _ = randomized_svd(directions, n_components, n_iter=_N_ITERATIONS, random_state=0)
    rows: np.ndarray = left * scales
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), tiny)


def _cover(rows: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Of each row the cosine to the nearest of the others, -1 without any."""
    covered = np.full(len(rows), -1, np.float32)
    for start in range(0, len(by), _ROWS_PER_BLOCK):
        np.maximum(covered, (rows @ by[start : start + _ROWS_PER_BLOCK].T).max(axis=1), out=covered)
    return covered
