"""Numbers of a run that its manifest does not have: intervals of each class, calibration."""

import numpy as np

from pipeline.report.contents import CalibrationBin, ClassScores
from pipeline.report.gathering.scored_run import ScoredRun
from pipeline.runs.scores import wilson_interval

N_BINS = 10


def count_confusions(scored: ScoredRun, places: list[int], n_classes: int) -> np.ndarray:
    """The confusion matrix, int64 `(n_classes, n_classes)`: rows are labels.

    Args:
        places: of each class of the run, its number in the report.
        n_classes: of the report.
    """
    number = np.array(places)
    labels, called = number[scored.labels[scored.rows]], number[scored.called[scored.rows]]
    counts = np.bincount(labels * n_classes + called, minlength=n_classes**2)
    return counts.reshape(n_classes, n_classes)


def score_classes(matrix: np.ndarray) -> list[ClassScores]:
    """Precision, recall and F1 of each class, and the 95% interval of the recall."""
    hits, support, called = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    return [
        _score_class(int(n_hits), int(n_images), int(n_called))
        for n_hits, n_images, n_called in zip(hits, support, called, strict=True)
    ]


def _score_class(n_hits: int, n_images: int, n_called: int) -> ClassScores:
    low, high = wilson_interval(n_hits, n_images) if n_images else (None, None)
    return ClassScores(
        n_images=n_images,
        precision=n_hits / n_called if n_called else None,
        recall=n_hits / n_images if n_images else None,
        f1=2 * n_hits / (n_images + n_called) if n_images + n_called else None,
        low=low,
        high=high,
    )


def calibrate(scored: ScoredRun) -> list[CalibrationBin]:
    """Ten bins of equal width of the highest probability, and how many in each are right."""
    sureness = scored.sureness[scored.rows].astype(np.float64)
    is_right = scored.called[scored.rows] == scored.labels[scored.rows]
    number = np.minimum((sureness * N_BINS).astype(np.int64), N_BINS - 1)
    bins = []
    for place in range(N_BINS):
        inside = number == place
        n_images = int(inside.sum())
        bins.append(
            CalibrationBin(
                low=place / N_BINS,
                high=(place + 1) / N_BINS,
                n_images=n_images,
                confidence=float(sureness[inside].mean()) if n_images else None,
                accuracy=float(is_right[inside].mean()) if n_images else None,
            )
        )
    return bins
