"""A head whose scores are divided by a temperature, so that it is as sure as it is right.

The head's files hold it as it was fitted; the temperature stands in the run's manifest. It changes
no answer, only how sure the head is of it.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.heads.fit import Fit, settle
from pipeline.heads.head import Head
from pipeline.heads.rows.view_rows import average_views
from pipeline.images.splits import VAL
from pipeline.runs.calibration import apply_temperature, find_temperature, soften
from pipeline.runs.scores import score_splits

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras


@dataclass(frozen=True)
class TemperedHead:
    """A `Head`.

    Args:
        head: as it was fitted.
        temperature: above 1 = less sure than that.
    """

    head: Head
    temperature: float

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """As the head's, less sure or surer."""
        probabilities = self.head.predict_proba(features)
        return apply_temperature(probabilities, self.temperature).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Writes the head as it was fitted."""
        self.head.save(folder)

    def to_keras(self) -> "keras.Layer":
        """The same map, with the temperature in the weights of its last layer."""
        layer = self.head.to_keras()
        soften(layer, self.temperature)
        return layer


def predict_averaged(head: Head, plain: np.ndarray, views: np.ndarray) -> np.ndarray:
    """Mean of the probabilities of all views, float32 `(n, n_classes)`, and then its temperature.

    Args:
        plain: features of view 0, `(n, n_features)`.
        views: of the other views, `(n, n_augmented, n_features)`.
    """
    if not isinstance(head, TemperedHead):
        return average_views(head.predict_proba, plain, views)
    mean = average_views(head.head.predict_proba, plain, views)
    return apply_temperature(mean, head.temperature).astype(np.float32)


def temper(head: Head, temperature: float) -> Head:
    """The head itself at a temperature of 1."""
    return head if temperature == 1 else TemperedHead(head, temperature)


def calibrate(fitted: Fit) -> Fit:
    """Divides the scores of a fitted head by the temperature with the lowest validation log-loss.

    Without validation rows it stays as it is, with a note.
    """
    is_val = fitted.splits == VAL
    if not is_val.any():
        note = "There is no validation split to calibrate by: the probabilities are as fitted."
        return replace(fitted, notes=[*fitted.notes, note])
    temperature = find_temperature(fitted.labels[is_val], fitted.probabilities[is_val])
    if temperature == 1:
        note = "Calibration: no temperature lowers the validation log-loss, so none is applied."
        return replace(fitted, notes=[*fitted.notes, note])
    probabilities = apply_temperature(fitted.probabilities, temperature).astype(np.float32)
    scores = score_splits(fitted.splits, fitted.labels, probabilities, fitted.class_names)
    metrics = {**fitted.metrics, **scores}  # those of folds are of other heads, as they were fitted
    before, after = (found["val"].log_loss for found in (fitted.metrics, metrics))
    note = (
        f"Calibration: scores divided by the temperature {temperature:.3f} (validation log-loss "
        f"{before:.4f} -> {after:.4f})."
    )
    return replace(
        fitted,
        head=temper(fitted.head, temperature),
        probabilities=probabilities,
        metrics=metrics,
        history=settle(fitted, metrics),
        notes=[*fitted.notes, note],
        temperature=temperature,
    )
