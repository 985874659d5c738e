"""The ridge head: least squares on one-hot targets, its strength chosen by leaving rows out.

Features are taken as they are, so that its coefficients are scikit-learn's; no validation row
takes part. Nothing here imports TensorFlow.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import ParameterError, SplitError
from pipeline.heads.blas_threads import one_blas_thread
from pipeline.heads.class_weights import weigh_every_class
from pipeline.heads.head import ChosenHead, TrainingRows
from pipeline.heads.linear import LinearHead
from pipeline.heads.options import RidgeOptions
from pipeline.heads.ridge.decomposition import (
    LEAST_SHARE,
    Decomposition,
    RidgeRows,
    decompose,
)
from pipeline.heads.ridge.left_out import leave_units_out
from pipeline.heads.rows.training_rows import check_rows, survey_rows
from pipeline.heads.sharpness import find_sharpness
from pipeline.system.progress import OnProgress

N_STRENGTHS = 100
# Of many classes fewer strengths are tried, since each costs as much as there are classes.
_LEAST_STRENGTHS, _MOST_SCORES = 20, 4000
_LEAST_POWER, _MOST_POWER = -6.0, 0.5  # of ten, times the greatest eigenvalue


@dataclass(frozen=True)
class StrengthScores:
    """How well rows that were left out are met at each strength; each has `n_alphas` entries.

    Args:
        alphas: rising.
        error: weighted mean over rows of the squared distance of their scores from the one-hot
            target.
        accuracy: share of rows whose highest score is that of their label, 0..1.
    """

    alphas: np.ndarray
    error: np.ndarray
    accuracy: np.ndarray

    @property
    def best(self) -> int:
        """Index of the lowest error; of equals the most regularised."""
        return len(self.error) - 1 - int(self.error[::-1].argmin())


def fit_ridge(
    rows: TrainingRows, options: RidgeOptions, *, seed: int, on_progress: OnProgress
) -> ChosenHead:
    """Fits the ridge head of the registry; see `FitHead`."""
    check_rows(
        rows.features, rows.labels, rows.is_train, rows.is_val, rows.class_names, needs_val=False
    )
    weights = weigh_every_class(options.class_weight, rows.labels[rows.is_train], rows.class_names)
    weights = weights / rows.n_views  # of an image's n views each counts 1/n of it
    units = rows.units
    if units is not None:
        require_two_units(units[rows.is_train])
    with one_blas_thread():
        survey = survey_rows(rows.features, rows.is_train, on_progress)
        ridge_rows = RidgeRows(rows.features, rows.labels, rows.is_train, weights, rows.n_views)
        found = decompose(ridge_rows, survey.mean, on_progress)
        n_strengths = max(_LEAST_STRENGTHS, min(N_STRENGTHS, _MOST_SCORES // len(weights)))
        alphas = (
            list_strengths(found, n_strengths)
            if options.alpha is None
            else np.array([float(options.alpha)])
        )
        require_strengths(alphas, found)
        judged, chosen_scores = judge_strengths(ridge_rows, found, alphas, units, on_progress)
        best = judged.best
        alpha = float(alphas[best])
        kernel, bias = found.fit(alpha)
    labels = rows.labels[: rows.n_images][rows.is_train[: rows.n_images]]
    sharpness = find_sharpness(chosen_scores, labels, weights[labels])
    head = LinearHead(
        (sharpness * kernel).astype(np.float32),
        (sharpness * bias).astype(np.float32),
        tuple(map(str, rows.class_names)),
    )
    return ChosenHead(
        head=head,
        chosen=f"alpha = {alpha:g}",
        chosen_by="leave-one-out" if options.alpha is None else "user",
        history=_describe(judged),
        x="alpha",
        best=alpha,
        settled={"alpha": alpha},
    )


def require_two_units(units: np.ndarray) -> None:
    """Raises a SplitError where all rows belong together, so that none can be left out."""
    if len(np.unique(units)) < 2:
        raise SplitError(
            "All training images are equal or of one group, so none can be left out. Expected "
            f"two or more groups. Received: 1, of {len(units):,} images"
        )


def list_strengths(found: Decomposition, n_strengths: int = N_STRENGTHS) -> np.ndarray:
    """Strengths that fit the scale of the features, rising, float64 `(n_strengths,)`."""
    shares = np.logspace(_LEAST_POWER, _MOST_POWER, n_strengths)
    return np.array([float(f"{alpha:.3g}") for alpha in found.greatest * shares])


def require_strengths(alphas: np.ndarray, found: Decomposition) -> None:
    """Raises a ParameterError for strengths that are none, or below what float64 can tell."""
    least = LEAST_SHARE * found.greatest
    wrong = [alpha for alpha in alphas.tolist() if not least <= alpha < np.inf]
    if wrong:
        raise ParameterError(
            f"Expected `alpha` to be a number from {least:.2g} on for features of this size "
            f"({LEAST_SHARE:g} of their greatest eigenvalue). Received: {wrong[0]:g}",
            "alpha",
        )


def judge_strengths(
    rows: RidgeRows,
    found: Decomposition,
    alphas: np.ndarray,
    units: np.ndarray | None,
    on_progress: OnProgress,
) -> tuple[StrengthScores, np.ndarray]:
    """Leaves rows out at all strengths, and once more at the best one.

    Returns:
        The judgement, and the scores of the used rows at the best strength, float64
        `(n_used, n_classes)`. Augmented views are left out with their image, and not scored.
    """
    n_images = len(rows.labels) // rows.n_views
    weights = rows.weights * rows.n_views
    errors, hits = np.zeros(len(alphas)), np.zeros(len(alphas))
    for some, of_some in leave_units_out(rows, found, alphas, units, on_progress):
        is_image = some < n_images
        numbers, scores = some[is_image], of_some[:, is_image]
        labels = rows.labels[numbers]
        missed = scores - rows.targets(numbers)
        errors += np.einsum("anc,anc,n->a", missed, missed, weights[labels], optimize=True)
        hits += (scores.argmax(axis=2) == labels).sum(axis=1)
    n_used = int(rows.is_used[:n_images].sum())
    judged = StrengthScores(alphas, errors / found.weight_sum, hits / n_used)
    best = alphas[[judged.best]]
    at_best = np.empty((len(rows.labels), len(rows.weights)))
    for numbers, scores in leave_units_out(rows, found, best, units):
        at_best[numbers] = scores[0]
    return judged, at_best[:n_images][rows.is_used[:n_images]]


def _describe(judged: StrengthScores) -> list[dict[str, Any]]:
    """A record for each strength; losses are told of the chosen one alone."""
    unknown = dict.fromkeys(("train_loss", "train_accuracy", "val_loss", "val_accuracy"))
    return [
        {"alpha": alpha, "left_out_error": error, "left_out_accuracy": accuracy, **unknown}
        for alpha, error, accuracy in zip(
            judged.alphas.tolist(), judged.error.tolist(), judged.accuracy.tolist(), strict=True
        )
    ]
