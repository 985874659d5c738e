"""How well a candidate's rows tell the classes apart: each row scored by a fit without it."""

from dataclasses import dataclass

import numpy as np

from pipeline.heads.blas_threads import one_blas_thread
from pipeline.heads.ridge.decomposition import RidgeRows, decompose
from pipeline.heads.ridge.fitting import judge_strengths, list_strengths
from pipeline.heads.rows.training_rows import survey_rows
from pipeline.heads.sharpness import find_sharpness
from pipeline.runs.scores import softmax

_N_STRENGTHS = 25


@dataclass(frozen=True)
class LeftOut:
    """What images score in ridge regressions that were fitted without them.

    Args:
        is_right: bool `(n_images,)`, whether the highest score is that of the label.
        of_label: float64 `(n_images,)`, the probability that the label got, 0..1.
        units: int `(n_images,)`, equal for images that were left out together.
    """

    is_right: np.ndarray
    of_label: np.ndarray
    units: np.ndarray

    @property
    def accuracy(self) -> float:
        return float(self.is_right.mean())


def leave_each_out(features: np.ndarray, labels: np.ndarray, units: np.ndarray) -> LeftOut:
    """Scores each row by the ridge regression on all others but those of its unit, exactly.

    The strength is the one with the least error of the rows that were left out. That choice sees
    every label, of which it makes one number: it flatters all candidates, by little and alike.

    Args:
        features: float32 `(n_images, n_features)`, finite.
        labels: int `(n_images,)`.
        units: int `(n_images,)`.

    Raises:
        ParameterError: no feature varies, or one is not finite.
    """
    _, classes = np.unique(labels, return_inverse=True)
    weights = np.ones(classes.max() + 1)
    is_used = np.ones(len(labels), bool)
    with one_blas_thread():
        rows = RidgeRows(features, classes, is_used, weights)
        found = decompose(rows, survey_rows(features, is_used).mean)
        alphas = list_strengths(found, _N_STRENGTHS)
        _, scores = judge_strengths(rows, found, alphas, units, lambda stage, done, total: None)
    probabilities = softmax(find_sharpness(scores, classes) * scores)
    of_label = probabilities[np.arange(len(classes)), classes]
    return LeftOut(scores.argmax(axis=1) == classes, of_label, units)
