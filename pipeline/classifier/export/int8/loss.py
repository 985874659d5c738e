"""What 8 bits cost: float32 and int8 on the same images."""

from dataclasses import dataclass

import numpy as np

from pipeline.runs.significance import paired_difference_interval
from pipeline.system.printable import count

MOST_LOST = 0.01  # of accuracy, unless more is accepted
_SPLITS = {
    "test": "test",
    "val": "val, which also chose the model",
    "train": "train, which flatters both: none were kept back",
    "all": "of no split, which flatters both: none were kept back",
}


@dataclass(frozen=True)
class Int8Loss:
    """Float32 and int8 on images that the run was not trained on, where it has some.

    Args:
        split: that they are of.
        n_images: with a label.
        accuracy_before: of float32.
        accuracy_after: of int8.
        became_right, became_wrong: images, from float32 to int8.
        interval: 95% interval of `accuracy_after - accuracy_before`.
        same_class: share of the images whose most probable class is the same.
        greatest_difference: of a probability.
        n_calibration: training images that it was calibrated on.
        distance_difference: the greatest of the distance; None where the run measures none.
    """

    split: str
    n_images: int
    accuracy_before: float
    accuracy_after: float
    became_right: int
    became_wrong: int
    interval: tuple[float, float]
    same_class: float
    greatest_difference: float
    n_calibration: int
    distance_difference: float | None = None

    @property
    def is_too_much(self) -> bool:
        """Whether more than a point was lost on these images, counted, not estimated."""
        return self.became_wrong - self.became_right > MOST_LOST * self.n_images + 1e-9

    def describe(self) -> str:
        """In a sentence."""
        low, high = self.interval
        distance = self.distance_difference
        points = (self.became_right - self.became_wrong) / self.n_images
        return (
            f"On {count(self.n_images, 'image')} ({_SPLITS[self.split]}): accuracy "
            f"{self.accuracy_before:.1%} in float32, {self.accuracy_after:.1%} in int8, "
            f"{100 * points:+.1f} points (95% interval {100 * low:+.1f} to {100 * high:+.1f}); "
            f"{self.became_wrong:,} became wrong, {self.became_right:,} right; the same class for "
            f"{self.same_class:.1%}, probabilities differ by up to {self.greatest_difference:.2g}"
            + (f", distances by up to {distance:.2g}." if distance is not None else ".")
        )


def compare_int8(
    before: np.ndarray,
    after: np.ndarray,
    labels: np.ndarray,
    split: str,
    n_calibration: int,
    distance_difference: float | None = None,
) -> Int8Loss:
    """Counts what 8 bits changed.

    Args:
        before, after: probabilities `(n, n_classes)`, of float32 and of int8.
        labels: int `(n,)`, each at least 0.
        split: name of the one that the images are of.
        n_calibration, distance_difference: as `Int8Loss` has them.
    """
    called_before, called_after = before.argmax(axis=1), after.argmax(axis=1)
    was_right, is_right = called_before == labels, called_after == labels
    became_right = int((~was_right & is_right).sum())
    became_wrong = int((was_right & ~is_right).sum())
    return Int8Loss(
        split=split,
        n_images=len(labels),
        accuracy_before=float(was_right.mean()),
        accuracy_after=float(is_right.mean()),
        became_right=became_right,
        became_wrong=became_wrong,
        interval=paired_difference_interval(became_right, became_wrong, len(labels)),
        same_class=float((called_before == called_after).mean()),
        greatest_difference=float(np.abs(after - before).max()),
        n_calibration=n_calibration,
        distance_difference=distance_difference,
    )
