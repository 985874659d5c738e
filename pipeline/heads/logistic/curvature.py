"""How much a regression's loss bends in which direction, as far as the features' variances tell."""

from dataclasses import dataclass

import numpy as np

DIRECTIONS = 128  # of greatest variance; along the others it is taken to be 1


@dataclass(frozen=True)
class Stretches:
    """Directions in which standardised features vary more than on average, which is 1.

    Args:
        directions: float32 `(n_directions, n_features)`, orthonormal rows.
        variances: float64 `(n_directions,)`.
    """

    directions: np.ndarray
    variances: np.ndarray


def find_stretches(rows: np.ndarray) -> Stretches:
    """The directions of a sample of standardised rows, float `(n_rows, n_features)`."""
    from sklearn.utils.extmath import randomized_svd

    n_rows, n_features = rows.shape
    _, lengths, directions = randomized_svd(
        rows.astype(np.float32),
        n_components=min(DIRECTIONS, n_rows, n_features),
        n_iter=2,
        random_state=0,
    )
    variances = np.square(lengths.astype(np.float64)) / n_rows
    is_stretched = variances > 1
    return Stretches(directions[is_stretched].astype(np.float32), variances[is_stretched])


class Curvature:
    """The second derivative of mean loss and penalty, as far as features and penalty tell it.

    The loss curves by `curvature` times the features' variance, the penalty by itself.

    Args:
        curvature: mean second derivative of the loss by a score.
        penalty: whose half times the sum of squares is added.
    """

    def __init__(self, stretches: Stretches, curvature: float, penalty: float):
        self._directions = stretches.directions
        curvature = max(curvature, float(np.finfo(np.float32).eps))
        along = 1 / (curvature * stretches.variances + penalty)
        self._elsewhere = np.float32(1 / (curvature + penalty))
        self._more_along = along.astype(np.float32) - self._elsewhere
        self._intercept = np.float32(1 / curvature)

    def divide(self, gradient: np.ndarray) -> np.ndarray:
        """A gradient, float32 `(n_features + 1, n_classes)`, divided by the second derivative."""
        divided = self._elsewhere * gradient
        parts = self._directions @ gradient[:-1]
        divided[:-1] += self._directions.T @ (self._more_along[:, None] * parts)
        divided[-1] = self._intercept * gradient[-1]
        return divided
