"""Two models on the same images: which images changed sides, and whether that can be chance."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.images.splits import SPLITS, TRAIN
from pipeline.system.csv_files import write_csv

if TYPE_CHECKING:
    from pipeline.runs.predictions import Predictions

SIGNIFICANT = 0.05
_LEAST_SAID = 1e-3
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
