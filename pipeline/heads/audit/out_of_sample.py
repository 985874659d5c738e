"""What each image is taken for by a head that was fitted without it, its equals and its group.

Exact leave-one-out of a ridge regression on all images that have a label, whatever their split: one
decomposition for all of them.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.heads.blas_threads import one_blas_thread
from pipeline.heads.head import FeatureArray
from pipeline.heads.ridge.decomposition import RidgeRows, decompose
from pipeline.heads.ridge.fitting import N_STRENGTHS, judge_strengths, list_strengths
from pipeline.heads.rows.training_rows import survey_rows
from pipeline.heads.sharpness import find_sharpness
from pipeline.images.splits import UNLABELLED
from pipeline.runs.scores import softmax
from pipeline.system.progress import OnProgress

_MOST_SCORES = 2000  # strengths times classes: memory, and time
_LEAST_STRENGTHS = 10


@dataclass(frozen=True)
class LeftOut:
    """Scores of images that were left out; arrays have a row for each image with a label.

    Args:
        rows: int64, their numbers.
        labels: int32, indices of classes.
        scores: float64 `(n, n_classes)`, fitted values of one-hot targets.
        probabilities: float64 `(n, n_classes)`.
    """

    rows: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray


def leave_each_out(
    features: FeatureArray,
    labels: np.ndarray,
    units: np.ndarray,
    n_classes: int,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> LeftOut | None:
    """Scores each image that has a label by a head that never saw it.

    Args:
        features: float32 `(n_samples, n_features)`, or what is sliced like it.
        labels: int `(n_samples,)`, -1 = none.
        units: int `(n_samples,)`, the same for rows that are left out together.
        n_classes: names of classes that there are.
        on_progress: called with a stage, the number done and the number to do.

    Returns:
        None where there are no two classes, or no two units: nothing can be left out then.
    """
    is_used = labels != UNLABELLED
    used = np.flatnonzero(is_used)
    if len(np.unique(labels[used])) < 2 or len(np.unique(units[used])) < 2:
        return None
    n_strengths = min(N_STRENGTHS, max(_LEAST_STRENGTHS, _MOST_SCORES // n_classes))
    with one_blas_thread():
        survey = survey_rows(features, is_used, on_progress)
        ridge = RidgeRows(features, labels, is_used, np.ones(n_classes))
        found = decompose(ridge, survey.mean, on_progress)
        strengths = list_strengths(found, n_strengths)
        _, scores = judge_strengths(ridge, found, strengths, units, on_progress)
    sharpness = find_sharpness(scores, labels[used])
    return LeftOut(used, labels[used], scores, softmax(sharpness * scores))
