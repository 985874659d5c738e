"""Two models on the same images: which images changed sides, and whether that can be chance."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.images.splits import SPLITS, TRAIN
from pipeline.system.csv_files import write_csv

if TYPE_CHECKING:
    from pipeline.runs.predictions import Predictions

SIGNIFICANT = 0.05
_LEAST_SAID = 1e-3
_AT_THE_END = 1e-9
CHANGED_SIDES = "changed-sides.csv"
_COLUMNS = ["path", "split", "label", "before", "after", "change"]


@dataclass(frozen=True)
class Comparison:
    """Frozen against fine-tuned on the images of one split.

    Args:
        split: `test`, or `val` where there is no test split.
        n_samples: images.
        became_right: wrong before, right after.
        became_wrong: right before, wrong after.
        p_value: of McNemar's exact test: how often chance alone would change sides as unevenly.
        is_optimistic: the split also chose the epoch, so the p-value flatters.
        test: which test it was.
    """

    split: str
    n_samples: int
    became_right: int
    became_wrong: int
    p_value: float
    is_optimistic: bool
    test: str = "McNemar, exact, two-sided"

    @property
    def is_significant(self) -> bool:
        return self.p_value < SIGNIFICANT

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def mcnemar_p_value(became_right: int, became_wrong: int) -> float:
    """McNemar's exact two-sided test: is either change of sides as likely as the other?

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated
    proportions or percentages", Psychometrika 12 (1947), with the binomial distribution.
    """
    from scipy.stats import binomtest

    n_changed = became_right + became_wrong
    return float(binomtest(became_right, n_changed, 0.5).pvalue) if n_changed else 1.0


def paired_difference_interval(
    became_right: int, became_wrong: int, n: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Tango's score interval of a difference of two accuracies on the same `n` images.

    Source: T. Tango, "Equivalence test and confidence interval for the difference in proportions
    for the paired-sample design", Statistics in Medicine 17 (1998).

    Returns:
        The lower and the upper bound of `(became_right - became_wrong) / n`, in -1..1.
    """
    from scipy.optimize import brentq

    z = NormalDist().inv_cdf((1 + confidence) / 2)

    def score(difference: float) -> float:
        a = 2.0 * n
        b = -became_right - became_wrong + (2 * n - became_right + became_wrong) * difference
        c = -became_wrong * difference * (1 - difference)
        share = (math.sqrt(max(0.0, b * b - 4 * a * c)) - b) / (2 * a)
        variance = n * (2 * share + difference * (1 - difference))
        distance = became_right - became_wrong - n * difference
        return distance / math.sqrt(max(variance, 1e-12))

    found = (became_right - became_wrong) / n

    def bound(end: float, target: float) -> float:
        if abs(found - end) < _AT_THE_END:
            return end
        inner = end * (1 - _AT_THE_END)  # at the very end there is no variance
        return float(brentq(lambda at: score(at) - target, *sorted((found, inner))))

    return bound(-1.0, z), bound(1.0, -z)


def describe_p_value(p_value: float) -> str:
    """`p = 0.012`, with as many digits as show on which side of the limit it lies."""
    if p_value < _LEAST_SAID:
        return f"p < {_LEAST_SAID:g}"
    texts = (f"{p_value:.{digits}g}" for digits in range(2, 18))
    is_significant = p_value < SIGNIFICANT
    return f"p = {next(text for text in texts if (float(text) < SIGNIFICANT) is is_significant)}"


def compare_predictions(before: "Predictions", after: "Predictions") -> Comparison:
    """Compares on the test split, or on validation where there is none."""
    test = SPLITS.index("test")
    has_test = bool(np.any((before.splits == test) & (before.labels >= 0)))
    split = test if has_test else SPLITS.index("val")
    rows = (before.splits == split) & (before.labels >= 0)
    was_right, is_right = _are_right(before)[rows], _are_right(after)[rows]
    became_right = int((~was_right & is_right).sum())
    became_wrong = int((was_right & ~is_right).sum())
    return Comparison(
        split=SPLITS[split],
        n_samples=int(rows.sum()),
        became_right=became_right,
        became_wrong=became_wrong,
        p_value=mcnemar_p_value(became_right, became_wrong),
        is_optimistic=not has_test,
    )


def write_changed_sides(
    path: Path, before: "Predictions", after: "Predictions", class_names: list[str]
) -> None:
    """Writes a CSV of the images that became right or wrong, those that were not trained on first.

    Columns: path, split, label, before, after, change (`became right` or `became wrong`).
    """
    was_right, is_right = _are_right(before), _are_right(after)
    changed = np.flatnonzero((was_right != is_right) & (before.labels >= 0))
    called_before = before.probabilities.argmax(axis=1)
    called_after = after.probabilities.argmax(axis=1)
    rows = [_COLUMNS]
    for row in sorted(changed.tolist(), key=lambda row: before.splits[row] == TRAIN):
        split = int(before.splits[row])
        rows.append(
            [
                before.paths[row],
                SPLITS[split] if split >= 0 else "",
                class_names[before.labels[row]],
                class_names[called_before[row]],
                class_names[called_after[row]],
                "became right" if is_right[row] else "became wrong",
            ]
        )
    write_csv(path, rows)


def _are_right(predictions: "Predictions") -> np.ndarray:
    is_right: np.ndarray = predictions.probabilities.argmax(axis=1) == predictions.labels
    return is_right
