"""The class-mean head: scikit-learn's `NearestCentroid`, whose distances are linear scores.

`-|x - m|^2 / 2` is `x m - |m|^2 / 2` but for a term that all classes share.
"""

import numpy as np

from pipeline.heads.estimators.linear_scores import LinearScores, calibrate, fold
from pipeline.heads.estimators.train_rows import read_rows
from pipeline.heads.head import ChosenHead, TrainingRows
from pipeline.heads.options import ClassMeanOptions
from pipeline.system.progress import OnProgress


def fit_class_mean(
    rows: TrainingRows, options: ClassMeanOptions, *, seed: int, on_progress: OnProgress
) -> ChosenHead:
    """Fits the class-mean head of the registry; see `FitHead`."""
    known = read_rows(rows, None, needs_val=False, on_progress=on_progress)
    # Distances do not change with the origin, and sums of squares lose fewer digits near it.
    centred = known.train.astype(np.float64) - known.mean
    found = _fit(centred, known.labels, known.sample_weights)
    factor = calibrate(_fit, centred, known)
    bias = found.bias - known.mean @ found.kernel
    head = fold(LinearScores(found.kernel, bias), factor, known, standard=False)
    return ChosenHead(head, chosen="the means of the classes")


def _fit(rows: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> LinearScores:
    del weights  # a mean of one class is the same whatever the class counts
    # Not by `NearestCentroid.fit`, which warns of features that do not vary within a class.
    centers = np.stack([rows[labels == label].mean(axis=0) for label in range(labels.max() + 1)])
    return LinearScores(centers.T, -np.square(centers).sum(axis=1) / 2)
