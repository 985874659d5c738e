"""The law that errors follow as training images are added: a power law, bent where they are few.

Source: A. Jain et al., "A Meta-Learning Approach to Predicting Performance and Data Requirements",
CVPR 2023, arXiv:2303.01598, the piecewise power law: against the logarithm of the number of images
that of the error is a parabola up to some number and a line from there on, which goes on where the
parabola ends, in its direction. There a forest that was taught by other data sets says where it
bends; here Akaike's criterion does.
"""

import math

import numpy as np

# Errors never rise with more images, and fall at most like their number's reciprocal, the rate of
# a parametric model that is right.
_STEEPEST, _FLATTEST = -1.0, 0.0
_LEAST_ON_LINE = 3  # sizes from which the line is told


def carry_on(
    sizes: np.ndarray, log_errors: np.ndarray, variances: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """The law's values at other sizes.

    Args:
        sizes: `(n_sizes,)`, rising, three at least.
        log_errors: `(n_curves, n_sizes)`, natural logarithms.
        variances: `(n_sizes,)`, of `log_errors`.
        wanted: `(n_wanted,)`, sizes from the last but two of `sizes` on, where the law is a line.

    Returns:
        Natural logarithms of errors, `(n_curves, n_wanted)`.
    """
    x, ahead = np.log(sizes), np.log(wanted)
    best = np.full(len(log_errors), math.inf)
    found = np.empty((len(log_errors), len(wanted)))
    for bend in range(len(sizes) - _LEAST_ON_LINE + 1):
        curved = np.square(np.minimum(x - x[bend], 0.0))
        columns = [np.ones_like(x), x] + ([curved] if bend else [])
        lost, level, slope = _fit(np.stack(columns, axis=1), log_errors, variances)
        lost += 2 * len(columns)
        is_better = lost < best
        best = np.where(is_better, lost, best)
        line = level[:, None] + slope[:, None] * ahead
        found = np.where(is_better[:, None], line, found)
    return found


def _fit(
    columns: np.ndarray, values: np.ndarray, variances: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weighted least squares with a slope within bounds.

    Returns:
        Of each curve the weighted sum of squares that is left, the level at 0 and the slope.
    """
    roots = 1 / np.sqrt(variances)
    weighted, targets = columns * roots[:, None], values * roots
    coefs = np.linalg.lstsq(weighted, targets.T, rcond=None)[0]
    slope = np.clip(coefs[1], _STEEPEST, _FLATTEST)
    # With the slope held at its bound the others are fitted anew.
    others = np.delete(weighted, 1, axis=1)
    rest = targets.T - weighted[:, 1:2] * slope
    held = np.linalg.lstsq(others, rest, rcond=None)[0]
    lost = np.square(rest - others @ held).sum(axis=0)
    return lost, held[0], slope
