"""Multinomial logistic regression over blocks of rows, which need not fit in memory.

The loss and the penalty are scikit-learn's, scipy's L-BFGS-B minimises them. It works in
coordinates in which the loss is about equally curved in all directions, so that it needs few
passes over the rows: a third of those in plain coordinates, for features that go together.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.heads.head import FeatureArray
from pipeline.heads.training_rows import Survey, split_rows
from pipeline.system.parallel import count_cores, map_batches

CORRECTIONS = 30  # what L-BFGS remembers: so many steps
DIRECTIONS = 128  # of greatest variance; along the others it is taken to be 1


@dataclass(frozen=True)
class Rows:
    """The rows to fit and to be judged by; `weights` is float64 `(n_classes,)`."""

    features: FeatureArray
    labels: np.ndarray
    is_train: np.ndarray
    is_val: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Scores:
    """Log-loss in nats and accuracy 0..1 of the train and the validation rows.

    Losses are without penalty and class weights. Without validation rows, theirs are None.
    """

    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None


@dataclass(frozen=True)
class State:
    """Where the solver is: float64 `(n_features, n_classes)` and `(n_classes,)`, and the scores.

    The coefficients are those of standardised features.
    """

    coef: np.ndarray
    intercept: np.ndarray
    scores: Scores | None = None


@dataclass(frozen=True)
class _Pass:
    """What one pass over all rows gives at one point."""

    loss: float  # weighted mean, without penalty
    coef_gradient: np.ndarray
    intercept_gradient: np.ndarray
    curvature: float  # mean second derivative by a score
    scores: Scores

    def is_flat(self, coef: np.ndarray, penalty: float, tolerance: float) -> bool:
        """Whether no component of the gradient exceeds `tolerance` times the train loss."""
        greatest = max(
            np.abs(self.coef_gradient + penalty * coef).max(), np.abs(self.intercept_gradient).max()
        )
        return bool(greatest <= tolerance * self.scores.train_loss)


class Regression:
    """Fits at one strength after another, each time from where it last stopped.

    Args:
        rows: to fit and to be judged by.
        survey: of the train rows.
        scale: float64 `(n_features,)`, by which centred features are divided.
    """

    def __init__(self, rows: Rows, survey: Survey, scale: np.ndarray):
        self._rows = rows
        self._mean, self._scale = survey.mean.astype(np.float32), scale
        self._stretches = _find_stretches((survey.sample_rows - survey.mean) / scale)
        self._weight_sum = rows.weights[rows.labels[rows.is_train]].sum()
        n_features, n_classes = len(scale), len(rows.weights)
        self.state = State(np.zeros((n_features, n_classes)), np.zeros(n_classes))

    def fit(
        self, C: float, tolerance: float, max_iterations: int, dtype: type = np.float64
    ) -> tuple[int, bool]:
        """Minimises at C until no component of the gradient exceeds `tolerance` times the loss.

        Args:
            dtype: of the products with the rows. float32 takes half the time; its rounding hides
                what is left to gain where the tolerance is below about 1e-4.

        Returns:
            The number of iterations, and whether the tolerance was reached.
        """
        from scipy.optimize import minimize

        penalty = self._penalty(C)
        here = self._evaluate(self.state.coef, self.state.intercept, dtype)
        self.state = replace(self.state, scores=here.scores)
        reached = here.is_flat(self.state.coef, penalty, tolerance)
        if reached:
            return 0, True
        space = _Space(self._stretches, here, self.state.coef, penalty)
        start = space.enter(self.state.coef, self.state.intercept)
        seen = {start.tobytes(): (self.state, here)}

        def evaluate(point: np.ndarray) -> tuple[float, np.ndarray]:
            if point.tobytes() not in seen:
                coef, intercept = space.leave(point)
                there = self._evaluate(coef, intercept, dtype)
                seen[point.tobytes()] = State(coef, intercept, there.scores), there
            state, there = seen[point.tobytes()]
            loss = there.loss + penalty / 2 * np.square(state.coef).sum()
            return loss, space.gradient(there, state.coef, penalty)

        def look(intermediate_result: Any) -> None:
            nonlocal reached
            self.state, there = seen[intermediate_result.x.tobytes()]
            seen.clear()
            reached = there.is_flat(self.state.coef, penalty, tolerance)
            if reached:
                raise StopIteration

        found = minimize(
            evaluate,
            start,
            jac=True,
            method="L-BFGS-B",
            callback=look,
            options={
                "maxcor": CORRECTIONS,
                "maxiter": max_iterations,
                "maxfun": 20 * max_iterations,
                "ftol": 0,
                "gtol": 0,
            },
        )
        return int(found.nit), reached

    def _penalty(self, C: float) -> float:
        """Half of this times the sum of squares, added to the mean loss, is scikit-learn's penalty.

        Of two classes scikit-learn fits the difference of their scores, whose square is penalised
        twice as much as those of both.
        """
        return (2 if len(self._rows.weights) == 2 else 1) / (C * self._weight_sum)

    def _evaluate(self, coef: np.ndarray, intercept: np.ndarray, dtype: type) -> _Pass:
        """One pass over the rows, in as many threads as there are cores."""
        coef = coef.astype(dtype)
        blocks = map_batches(
            lambda block: self._evaluate_block(block, coef, intercept),
            split_rows(self._rows.features),
            count_cores(),
        )
        # One after another in the order of the rows, so that the sums never depend on threads.
        sums = next(blocks)
        for more in blocks:
            sums = [a + b for a, b in zip(sums, more, strict=True)]
        (loss, coef_gradient, intercept_gradient, curvature, tallies) = sums
        losses, hits, counts = tallies
        train, val = ((losses[i], hits[i], counts[i]) for i in range(2))
        return _Pass(
            float(loss / self._weight_sum),
            coef_gradient / self._weight_sum,
            intercept_gradient / self._weight_sum,
            float(curvature / self._weight_sum),
            Scores(
                train_loss=float(train[0] / train[2]),
                train_accuracy=float(train[1] / train[2]),
                val_loss=float(val[0] / val[2]) if val[2] else None,
                val_accuracy=float(val[1] / val[2]) if val[2] else None,
            ),
        )

    def _evaluate_block(self, block: slice, coef: np.ndarray, intercept: np.ndarray) -> list[Any]:
        """Sums over a block: loss, both gradients, curvature; tallies (3, train and val)."""
        rows = self._rows
        is_train = rows.is_train[block]
        used = np.flatnonzero(is_train | rows.is_val[block])
        is_train, labels = is_train[used], rows.labels[block][used]
        # A row that is not used takes no part in a product: it would change the last bits.
        standardised = rows.features[block]
        if len(used) < len(standardised):
            standardised = standardised[used]
        standardised = np.subtract(standardised, self._mean, dtype=coef.dtype)
        standardised /= self._scale.astype(coef.dtype)

        scores = (standardised @ coef).astype(np.float64) + intercept
        scores -= scores.max(axis=1, keepdims=True)
        probabilities = np.exp(scores)
        sums = probabilities.sum(axis=1)
        probabilities /= sums[:, None]
        places = np.arange(len(used)), labels
        losses = np.log(sums) - scores[places]
        hits = scores.argmax(axis=1) == labels
        weights = np.where(is_train, rows.weights[labels], 0.0)
        n_classes = len(intercept)
        spread = (probabilities * (1 - probabilities)).sum(axis=1) / (n_classes - 1)
        residuals = probabilities
        residuals[places] -= 1
        residuals *= weights[:, None]
        return [
            weights @ losses,
            (residuals.astype(coef.dtype).T @ standardised).T.astype(np.float64),
            residuals.sum(axis=0),
            weights @ spread,
            np.array(
                [
                    [losses[is_train].sum(), losses[~is_train].sum()],
                    [hits[is_train].sum(), hits[~is_train].sum()],
                    [is_train.sum(), (~is_train).sum()],
                ],
                np.float64,
            ),
        ]


@dataclass(frozen=True)
class _Stretches:
    """Directions in which standardised features vary more than on average, which is 1.

    Args:
        directions: float64 `(n_directions, n_features)`, orthonormal rows.
        variances: float64 `(n_directions,)`.
    """

    directions: np.ndarray
    variances: np.ndarray


def _find_stretches(rows: np.ndarray) -> _Stretches:
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
    return _Stretches(directions[is_stretched].astype(np.float64), variances[is_stretched])


class _Space:
    """Coordinates in which mean loss and penalty have a second derivative of about 1.

    The loss curves by `curvature` times the features' variance, the penalty by itself.
    """

    def __init__(self, stretches: _Stretches, here: _Pass, coef: np.ndarray, penalty: float):
        self._directions = stretches.directions
        curvature = max(here.curvature, float(np.finfo(np.float32).eps))
        self._along = np.sqrt(curvature * stretches.variances + penalty)
        self._elsewhere = np.sqrt(curvature + penalty)
        self._intercept = np.sqrt(curvature)
        # L-BFGS-B's first step has length 1: let that be the length of Newton's.
        self._unit = 1.0
        self._unit = float(np.linalg.norm(self.gradient(here, coef, penalty)))

    def enter(self, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
        """From coefficients to a point."""
        stretched = self._stretch(coef, self._along, self._elsewhere)
        return np.append(stretched, intercept * self._intercept) / self._unit

    def leave(self, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """From a point to coefficients."""
        n_features = self._directions.shape[1]
        matrix = point.reshape(n_features + 1, -1) * self._unit
        coef = self._stretch(matrix[:-1], 1 / self._along, 1 / self._elsewhere)
        return coef, matrix[-1] / self._intercept

    def gradient(self, there: _Pass, coef: np.ndarray, penalty: float) -> np.ndarray:
        """The gradient of mean loss and penalty by the point."""
        by_coef = self._stretch(
            there.coef_gradient + penalty * coef, 1 / self._along, 1 / self._elsewhere
        )
        return np.append(by_coef, there.intercept_gradient / self._intercept) * self._unit

    def _stretch(self, matrix: np.ndarray, along: np.ndarray, elsewhere: float) -> np.ndarray:
        """Multiplies by `along` in the directions and by `elsewhere` in all others."""
        parts = self._directions @ matrix
        stretched: np.ndarray = self._directions.T @ ((along - elsewhere)[:, None] * parts)
        stretched += elsewhere * matrix
        return stretched
