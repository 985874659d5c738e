"""Multinomial logistic regression over blocks of rows, which need not fit in memory.

The loss and the penalty are scikit-learn's. The solver (`quasi_newton.py`) is told in which
directions the features vary most, and where the last two fits lead, so that it needs few passes
over the rows: a third of those without, for features that go together.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pipeline.heads.head import FeatureArray
from pipeline.heads.logistic.curvature import Curvature, Stretches, find_stretches
from pipeline.heads.logistic.quasi_newton import Pairs, Value, minimise
from pipeline.heads.rows.training_rows import Survey, count_spare_bytes, split_rows
from pipeline.runs.scores import clip_losses
from pipeline.system.parallel import count_cores, map_batches

# So many blocks of rows at least, so that all cores have work to the end; their size and with it
# the last bits of the sums depend on nothing but the rows.
_LEAST_BLOCKS, _LEAST_ROWS = 8, 256
# Shares of the loss that may be rounding.
_ROUNDING = {"float32": 1e-6, "float64": 1e-12}
_SMALLEST_POWER = -20.0  # below it, 1 plus the power's reciprocal is that reciprocal
_FURTHEST = 1.0  # times the way from the fit before to the last is looked ahead at most

OnStep = Callable[[float, float], None]


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

    Losses are without penalty and class weights, and clipped by the rule of all that are reported.
    Without validation rows, theirs are None.
    """

    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None


@dataclass(frozen=True)
class State:
    """Where the solver is, and the scores there.

    Args:
        point: float64 `(n_features + 1, n_classes)`: the coefficients of standardised features and,
            in the last row, the intercepts.
    """

    point: np.ndarray
    scores: Scores | None = None

    @property
    def coef(self) -> np.ndarray:
        """Float64 `(n_features, n_classes)`."""
        return self.point[:-1]

    @property
    def intercept(self) -> np.ndarray:
        """Float64 `(n_classes,)`."""
        return self.point[-1]


@dataclass(frozen=True)
class _Pass(Value):
    """What one pass over the train rows gives at one point.

    Args:
        curvature: mean second derivative by a score; None where it was not asked for.
    """

    curvature: float | None = None

    def penalise(self, point: np.ndarray, penalty: float) -> "_Pass":
        """With half of `penalty` times the sum of the squared coefficients."""
        gradient = self.gradient.copy()
        gradient[:-1] += penalty * point[:-1]
        value = self.value + penalty / 2 * float(np.vdot(point[:-1], point[:-1]))
        return replace(self, value=value, gradient=gradient)


@dataclass(frozen=True)
class _Stop:
    """Where the last fit stopped, at which strength, and how the loss there is without penalty."""

    C: float
    state: State
    loss: float


class Regression:
    """Fits at one strength after another, each time from where the last ones lead.

    Args:
        rows: to fit and to be judged by.
        survey: of the train rows.
        scale: float64 `(n_features,)`, by which centred features are divided.
        stretches: of the standardised features; None = those of the survey's sample.
    """

    def __init__(
        self,
        rows: Rows,
        survey: Survey,
        scale: np.ndarray,
        stretches: Stretches | None = None,
    ):
        self._rows = rows
        self._mean, self._scale = survey.mean.astype(np.float32), scale
        if stretches is None:
            stretches = find_stretches((survey.sample_rows - survey.mean) / scale)
        self._stretches = stretches
        self._weight_sum = rows.weights[rows.labels[rows.is_train]].sum()
        # Standardised train rows by the start of their block: half of a pass would go into them.
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        n_bytes = 4 * int(rows.is_train.sum()) * len(scale)
        self._keeps = n_bytes <= count_spare_bytes(rows.features)
        shape = (len(scale) + 1, len(rows.weights))
        self._pairs = Pairs(shape)
        self._stops: list[_Stop] = []  # the last two
        self.state = State(np.zeros(shape))

    def fit(
        self,
        C: float,
        tolerance: float,
        max_iterations: int,
        dtype: type = np.float64,
        on_step: OnStep = lambda left, limit: None,
    ) -> tuple[int, bool]:
        """Minimises at C until no more than a share of the loss, `tolerance`, is left to gain.

        What is left is estimated from the gradient and the second derivative, as far as that is
        known. (A limit for the gradient alone says nothing: of 1,000 classes each has a thousandth
        of it, and the solver would stop where it began.)

        Args:
            dtype: of the products with the rows. float32 takes half the time; its rounding hides
                what is left to gain where the tolerance is below about 1e-7.
            on_step: called with what is left to gain and the limit, in nats.

        Returns:
            The number of iterations, and whether the tolerance was reached.
        """
        penalty = self._penalty(C)

        def evaluate(point: np.ndarray) -> _Pass:
            return self._evaluate(point, dtype).penalise(point, penalty)

        def find_limit(point: np.ndarray, there: Value) -> float:
            return tolerance * self._loss_alone(point, there, penalty)

        start, first = self._begin(C, penalty, dtype)
        self._pairs.set_penalty(penalty)
        found = minimise(
            evaluate,
            start,
            first.penalise(start, penalty),
            self._pairs,
            Curvature(self._stretches, first.curvature or 0.0, penalty).divide,
            find_limit=find_limit,
            max_steps=max_iterations,
            rounding=_ROUNDING[np.dtype(dtype).name],
            on_step=on_step,
        )
        self.state = State(found.point, self._score(found.point, dtype))
        loss = self._loss_alone(found.point, found.here, penalty)
        self._stops = [*self._stops[-1:], _Stop(C, self.state, loss)]
        return found.n_steps, found.is_reached

    def _begin(self, C: float, penalty: float, dtype: type) -> tuple[np.ndarray, _Pass]:
        """Where to start and the pass there: where the last two fits lead, if that is lower."""
        start = self.state.point
        if len(self._stops) == 2 and self._stops[1].state is self.state:
            before, last = self._stops
            if before.C < last.C < C:
                share = np.log(C / last.C) / np.log(last.C / before.C)
                ahead = start + min(share, _FURTHEST) * (start - before.state.point)
                there = self._evaluate(ahead, dtype, with_curvature=True)
                here = _Pass(last.loss, np.zeros_like(start)).penalise(start, penalty)
                if there.penalise(ahead, penalty).value < here.value:
                    return ahead, there
        return start, self._evaluate(start, dtype, with_curvature=True)

    def _loss_alone(self, point: np.ndarray, there: Value, penalty: float) -> float:
        return there.value - penalty / 2 * float(np.vdot(point[:-1], point[:-1]))

    def _penalty(self, C: float) -> float:
        """Half of this times the sum of squares, added to the mean loss, is scikit-learn's penalty.

        Of two classes scikit-learn fits the difference of their scores, whose square is penalised
        twice as much as those of both.
        """
        return (2 if len(self._rows.weights) == 2 else 1) / (C * self._weight_sum)

    def _blocks(self) -> list[slice]:
        features = self._rows.features
        largest = split_rows(features)[0]
        n_rows = max(_LEAST_ROWS, -(-len(features) // _LEAST_BLOCKS))
        return split_rows(features, min(largest.stop, n_rows))

    def _evaluate(self, point: np.ndarray, dtype: type, with_curvature: bool = False) -> _Pass:
        """One pass over the train rows, in as many threads as there are cores."""
        point = point.astype(dtype)
        loss, curvature, gradient = 0.0, 0.0, np.zeros(point.shape)
        # One after another in the order of the rows, so that the sums never depend on threads.
        for more_loss, more_curvature, by_coef, by_intercept in map_batches(
            lambda block: self._evaluate_block(block, point, with_curvature),
            self._blocks(),
            count_cores(),
        ):
            loss += more_loss
            curvature += more_curvature
            gradient[:-1] += by_coef
            gradient[-1] += by_intercept
        gradient /= self._weight_sum
        return _Pass(loss / self._weight_sum, gradient, curvature / self._weight_sum)

    def _evaluate_block(
        self, block: slice, point: np.ndarray, with_curvature: bool
    ) -> tuple[float, float, np.ndarray, np.ndarray]:
        """Sums over the train rows of a block: loss, curvature, both gradients."""
        rows, labels = self._take_train_rows(block, point.dtype)
        weights = self._rows.weights[labels]
        residuals, losses, doubts = _compare(rows @ point[:-1] + point[-1], labels)
        curvature = 0.0
        if with_curvature:
            places = np.arange(len(labels)), labels
            squares = np.einsum("ij,ij->i", residuals, residuals) - np.square(residuals[places])
            spread = doubts - squares + doubts * (1 - doubts)
            curvature = float(weights @ spread) / (residuals.shape[1] - 1)
        residuals *= weights.astype(point.dtype)[:, None]
        return float(weights @ losses), curvature, rows.T @ residuals, residuals.sum(axis=0)

    def _take_train_rows(self, block: slice, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
        """Those of a block, standardised, and their labels; not to be written into."""
        is_train = self._rows.is_train[block]
        if dtype != np.float32 or not self._keeps:
            return self._standardise(block, is_train, dtype)
        if block.start not in self._kept:
            self._kept[block.start] = self._standardise(block, is_train, dtype)
        return self._kept[block.start]

    def _standardise(
        self, block: slice, is_used: np.ndarray, dtype: np.dtype
    ) -> tuple[np.ndarray, np.ndarray]:
        """The rows of a block that are used, and their labels.

        A row that is not used takes no part in a product: it would change the last bits.
        """
        rows, labels = self._rows.features[block], self._rows.labels[block]
        if not is_used.all():
            rows, labels = rows[is_used], labels[is_used]
        rows = np.subtract(rows, self._mean, dtype=dtype)
        rows /= self._scale.astype(dtype)
        return rows, labels

    def _score(self, point: np.ndarray, dtype: type) -> Scores:
        """Scores of all rows that fit or choose."""
        point = point.astype(dtype)
        blocks = map_batches(
            lambda block: self._score_block(block, point), self._blocks(), count_cores()
        )
        (train_loss, train_hits, n_train), (val_loss, val_hits, n_val) = sum(
            blocks, np.zeros((2, 3))
        )
        return Scores(
            train_loss=float(train_loss / n_train),
            train_accuracy=float(train_hits / n_train),
            val_loss=float(val_loss / n_val) if n_val else None,
            val_accuracy=float(val_hits / n_val) if n_val else None,
        )

    def _score_block(self, block: slice, point: np.ndarray) -> np.ndarray:
        """Sums of losses, hits and rows of train and of validation, float64 (2, 3)."""
        is_train = self._rows.is_train[block]
        is_used = is_train | self._rows.is_val[block]
        rows, labels = self._standardise(block, is_used, point.dtype)
        scores = rows @ point[:-1] + point[-1]
        hits = scores.argmax(axis=1) == labels
        losses = clip_losses(_compare(scores, labels)[1])
        return np.array(
            [
                [losses[of].sum(), hits[of].sum(), of.sum()]
                for of in (is_train[is_used], ~is_train[is_used])
            ],
            np.float64,
        )


def _compare(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What scores say of labels; as exact for samples that are almost certain as for others.

    Args:
        scores: `(n_samples, n_classes)`; overwritten.

    Returns:
        Probabilities, less 1 in the column of the label; losses in nats, float64; and what the
        probability of the label lacks to 1, float64.
    """
    places = np.arange(len(labels)), labels
    scores -= scores.max(axis=1, keepdims=True)
    of_label = scores[places].astype(np.float64)
    powers = np.exp(scores, out=scores)
    power_of_label = powers[places].astype(np.float64)
    powers[places] = 0
    others = powers.sum(axis=1).astype(np.float64)
    total = others + power_of_label
    doubts = others / total
    powers *= (1 / total).astype(powers.dtype)[:, None]
    powers[places] = -doubts
    with np.errstate(divide="ignore", over="ignore"):  # of what the other branch is for
        losses = np.where(
            of_label > _SMALLEST_POWER,
            np.log1p(others / power_of_label),
            np.log(others) - of_label,
        )
    return powers, losses, doubts
