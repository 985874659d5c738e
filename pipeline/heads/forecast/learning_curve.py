"""Heads fitted on draws of fewer and fewer training images, and which scored images each has right.

The head is the logistic one at a fixed strength, fitted well enough to tell what it calls an image.
Features are standardised once, by all training images. Nothing is chosen by the scored images.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.heads.blas_threads import one_blas_thread
from pipeline.heads.folds import hold_out_in_turn
from pipeline.heads.forecast.draws import list_sizes, order_images
from pipeline.heads.head import FeatureArray
from pipeline.heads.logistic.curvature import find_stretches
from pipeline.heads.logistic.multinomial import Regression, Rows, State
from pipeline.heads.rows.training_rows import (
    LEAST_RELATIVE_SPREAD,
    split_rows,
    survey_rows,
)
from pipeline.system.progress import OnProgress

_TOLERANCE = 1e-4  # share of the loss that may be left: far less than what two draws differ by
_MOST_ITERATIONS = 200
_PARTS = 5  # where no images are set apart to score, a fifth is, in turn

# With many images fewer draws of fewer sizes are enough: they differ less, and each costs more.
_MANY_NUMBERS = 3_000_000  # features of all training images
_FEW_IMAGES_PLAN, _MANY_IMAGES_PLAN = (10, 2**0.5), (5, 2.0)  # draws, and steps between sizes


@dataclass(frozen=True)
class LearningCurve:
    """What was measured; the last size is that of all training images.

    Args:
        sizes: numbers of training images, rising.
        is_right: bool `(n_draws, n_sizes, n_scored)`.
        is_scored: bool `(n_draws, n_scored)`, the images that a draw's heads were scored on.
        is_one_head: whether all draws meet in one head at the last size.
    """

    sizes: list[int]
    is_right: np.ndarray
    is_scored: np.ndarray
    is_one_head: bool

    @property
    def accuracies(self) -> np.ndarray:
        """Of each draw and size, `(n_draws, n_sizes)`, 0..1."""
        hits = (self.is_right & self.is_scored[:, None]).sum(axis=2)
        shares: np.ndarray = hits / self.is_scored.sum(axis=1)[:, None]
        return shares


@dataclass(frozen=True)
class CurveRows:
    """What curves are measured on.

    Args:
        features: float32 `(n_samples, n_features)`, finite: an array, or anything sliced like one.
        labels: int `(n_samples,)`, indices of classes.
        train: int64, rows that train.
        scored: int64, rows that are scored; None = a fifth of the training rows in turn.
        units: int `(n_samples,)`, the same for rows that belong together.
        weights: float64 `(n_classes,)`, what a row of each class counts.
        C: inverse strength of the penalty, as scikit-learn has it.
    """

    features: FeatureArray
    labels: np.ndarray
    train: np.ndarray
    scored: np.ndarray | None
    units: np.ndarray
    weights: np.ndarray
    C: float


def measure_curve(rows: CurveRows, seed: int, on_progress: OnProgress) -> LearningCurve:
    """Fits and scores all heads.

    Raises:
        SplitError: too few training images.
        ParameterError: a feature is not finite.
    """
    n_draws, ratio = (
        _MANY_IMAGES_PLAN
        if len(rows.train) * rows.features.shape[1] > _MANY_NUMBERS
        else _FEW_IMAGES_PLAN
    )
    with one_blas_thread():
        fitter = _Fitter(rows)
        if rows.scored is not None:
            return _measure_on_others(rows, rows.scored, fitter, n_draws, ratio, seed, on_progress)
        return _measure_in_turn(rows, fitter, n_draws, ratio, seed, on_progress)


def _measure_on_others(
    rows: CurveRows,
    scored: np.ndarray,
    fitter: "_Fitter",
    n_draws: int,
    ratio: float,
    seed: int,
    on_progress: OnProgress,
) -> LearningCurve:
    sizes = list_sizes(len(rows.train), len(rows.weights), ratio)
    is_right = np.empty((n_draws, len(sizes), len(scored)), bool)
    for draw in range(n_draws):
        random = np.random.default_rng((seed, draw))
        order = rows.train[order_images(rows.labels[rows.train], rows.units[rows.train], random)]
        # All draws end in the same images, so that only the first has to fit a head on them.
        fitted = fitter.fit_sizes(order, sizes if draw == 0 else sizes[:-1], scored)
        for place, right in enumerate(fitted):
            is_right[draw, place] = right
        on_progress("Forecasting", draw + 1, n_draws)
    is_right[1:, -1] = is_right[0, -1]
    return LearningCurve(sizes, is_right, np.ones((n_draws, len(scored)), bool), True)


def _measure_in_turn(
    rows: CurveRows,
    fitter: "_Fitter",
    n_draws: int,
    ratio: float,
    seed: int,
    on_progress: OnProgress,
) -> LearningCurve:
    train, labels, units = rows.train, rows.labels[rows.train], rows.units[rows.train]
    parts = list(hold_out_in_turn(labels, units, _PARTS, seed))
    n_least = min(int((~held).sum()) for held in parts)
    sizes = list_sizes(n_least, len(rows.weights), ratio)
    is_right = np.zeros((n_draws, len(sizes), len(train)), bool)
    is_scored = np.zeros((n_draws, len(train)), bool)
    for draw in range(n_draws):
        random = np.random.default_rng((seed, draw))
        held = parts[draw % len(parts)]
        kept = np.flatnonzero(~held)
        order = train[kept[order_images(labels[kept], units[kept], random)]]
        is_scored[draw] = held
        for place, right in enumerate(fitter.fit_sizes(order, sizes, train[held])):
            is_right[draw, place, held] = right
        on_progress("Forecasting", draw + 1, n_draws)
    return LearningCurve(sizes, is_right, is_scored, False)


class _Fitter:
    """Fits heads on some of the rows, each from where the one on fewer of them stopped."""

    def __init__(self, rows: CurveRows):
        self._rows = rows
        is_train = np.zeros(len(rows.labels), bool)
        is_train[rows.train] = True
        self._survey = survey_rows(rows.features, is_train)
        spread = self._survey.spread
        scale = np.where(spread == 0, 1.0, spread)
        self._scale = np.maximum(scale, LEAST_RELATIVE_SPREAD * np.abs(self._survey.mean))
        self._stretches = find_stretches(
            (self._survey.sample_rows - self._survey.mean) / self._scale
        )

    def fit_sizes(
        self, order: np.ndarray, sizes: list[int], scored: np.ndarray
    ) -> Iterator[np.ndarray]:
        """Of the head on the first so many rows of an order, which scored rows it has right."""
        state: State | None = None
        for size in sizes:
            regression = self._start(np.sort(order[:size]))
            if state is not None:
                regression.state = state
            regression.fit(self._rows.C, _TOLERANCE, _MOST_ITERATIONS, np.float32)
            state = regression.state
            yield self._find_right(state, scored)

    def _start(self, numbers: np.ndarray) -> Regression:
        is_train = np.ones(len(numbers), bool)
        features, labels = self._rows.features[numbers], self._rows.labels[numbers]
        taken = Rows(features, labels, is_train, ~is_train, self._rows.weights)
        return Regression(taken, self._survey, self._scale, self._stretches)

    def _find_right(self, state: State, scored: np.ndarray) -> np.ndarray:
        kernel = (state.coef / self._scale[:, None]).astype(np.float32)
        bias = state.intercept - self._survey.mean @ kernel.astype(np.float64)
        called = [
            (self._rows.features[scored[block]] @ kernel + bias).argmax(axis=1)
            for block in split_rows(np.broadcast_to(np.float32(0), (len(scored), len(kernel))))
        ]
        is_right: np.ndarray = np.concatenate(called) == self._rows.labels[scored]
        return is_right
