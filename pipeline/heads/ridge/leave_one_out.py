"""Leave-one-out for people with arrays: what each row scores in a fit that never saw it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import ParameterError
from pipeline.heads.blas_threads import one_blas_thread
from pipeline.heads.class_weights import weigh_every_class
from pipeline.heads.head import FeatureArray
from pipeline.heads.options import RidgeOptions
from pipeline.heads.ridge.decomposition import RidgeRows, decompose
from pipeline.heads.ridge.fitting import list_strengths, require_strengths, require_two_units
from pipeline.heads.ridge.left_out import leave_units_out
from pipeline.heads.rows.arrange_rows import arrange_rows
from pipeline.heads.rows.training_rows import check_rows, survey_rows
from pipeline.heads.sharpness import find_sharpness
from pipeline.images.splits import UNLABELLED
from pipeline.runs.scores import softmax
from pipeline.system.options import check_options
from pipeline.system.progress import OnProgress


@dataclass(frozen=True)
class LeaveOneOut:
    """What rows score in ridge regressions that were fitted without them.

    Args:
        alphas: float64 `(n_alphas,)`, scikit-learn's strengths, rising.
        scores: float64 `(n_alphas, n_samples, n_classes)`, fitted values of one-hot targets.
        labels: int `(n_samples,)`, indices into `class_names`.
        class_names: in the order of the columns.
        weights: float64 `(n_samples,)`, what each row counted.
    """

    alphas: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    class_names: list[str]
    weights: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """Weighted mean squared distance of the scores from the targets, `(n_alphas,)`."""
        targets = np.eye(len(self.class_names))[self.labels]
        distances = np.stack([np.square(scores - targets).sum(axis=1) for scores in self.scores])
        mean: np.ndarray = distances @ self.weights / self.weights.sum()
        return mean

    @property
    def accuracy(self) -> np.ndarray:
        """Share of rows whose highest score is that of their label, `(n_alphas,)`, 0..1."""
        hits: np.ndarray = (self.scores.argmax(axis=2) == self.labels).mean(axis=1)
        return hits

    @property
    def best(self) -> int:
        """Index of the strength with the lowest error; of equals the most regularised."""
        return len(self.alphas) - 1 - int(self.error[::-1].argmin())

    def probabilities(self, strength: int | None = None) -> np.ndarray:
        """Probabilities of the classes, float64 `(n_samples, n_classes)`.

        The softmax of the scores times the one factor that gives them the lowest log-loss.

        Args:
            strength: index into `alphas`; None = the best.
        """
        scores = self.scores[self.best if strength is None else strength]
        return softmax(find_sharpness(scores, self.labels, self.weights) * scores)


def leave_one_out(
    features: FeatureArray | Sequence[Sequence[float]],
    labels: Sequence[int] | Sequence[str] | np.ndarray,
    *,
    alphas: Sequence[float] | np.ndarray | None = None,
    groups: Sequence[Any] | np.ndarray | None = None,
    class_weight: str | None = None,
    class_names: Sequence[str] | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> LeaveOneOut:
    """Scores each row by a ridge regression fitted on all others, exactly, at every strength.

    One decomposition gives all of them: 14,000 rows of 1,280 features at 100 strengths take
    seconds. The result holds `n_alphas * n_samples * n_classes` numbers of 8 bytes.

    Args:
        features: float32 `(n_samples, n_features)`: an array, or anything that is sliced like one.
        labels: of each row a class's name, or its index into `class_names`.
        alphas: strengths, each from 1e-8 of the greatest eigenvalue of the features on; None = 100
            that fit the features.
        groups: of each row a name or a number, the same for rows that are left out together;
            None = each alone. Equal images belong together.
        class_weight: `balanced`, a file of weights, or None.
        class_names: in the order of the scores' columns; None = as `fit` finds them.
        on_progress: called with a stage, the number done and the number to do.

    Returns:
        The `LeaveOneOut`.

    Raises:
        ParameterError: a value or an array that makes no sense, or a row without a label.
        SplitError: fewer than two classes, or all rows in one group.
    """
    rows, _ = arrange_rows(features, labels, ["train"] * len(labels), class_names, groups)
    check_options(RidgeOptions(class_weight=class_weight), "leave rows out")
    if np.any(rows.labels == UNLABELLED):
        row = int(np.flatnonzero(rows.labels == UNLABELLED)[0])
        raise ParameterError(
            f"Expected a label for each row in `labels`. Received: none for row {row}", "labels"
        )
    check_rows(
        rows.features, rows.labels, rows.is_train, rows.is_val, rows.class_names, needs_val=False
    )
    require_two_units(np.arange(len(rows.labels)) if rows.units is None else rows.units)
    weights = weigh_every_class(class_weight, rows.labels, rows.class_names)
    with one_blas_thread():
        survey = survey_rows(rows.features, rows.is_train, on_progress)
        used = RidgeRows(rows.features, rows.labels, rows.is_train, weights)
        found = decompose(used, survey.mean, on_progress)
        strengths = list_strengths(found) if alphas is None else _read_strengths(alphas)
        require_strengths(strengths, found)
        scores = np.empty((len(strengths), len(rows.labels), len(weights)))
        for numbers, some in leave_units_out(used, found, strengths, rows.units, on_progress):
            scores[:, numbers] = some
    return LeaveOneOut(strengths, scores, rows.labels, list(rows.class_names), weights[rows.labels])


def _read_strengths(alphas: Any) -> np.ndarray:
    """Rising, float64."""
    try:
        strengths = np.asarray(alphas, np.float64)
    except (TypeError, ValueError) as error:
        raise _no_strengths(repr(alphas)) from error
    if strengths.ndim != 1 or not strengths.size or np.any(np.diff(strengths) <= 0):
        raise _no_strengths(f"{alphas!r}")
    return strengths


def _no_strengths(received: str) -> ParameterError:
    return ParameterError(
        f"Expected `alphas` to be a list of numbers above 0 that rise. Received: {received}",
        "alphas",
    )
