"""Which epoch wins: the scores of validation, and the rule that compares them.

Training end to end makes a network too sure of itself (and label smoothing too unsure) without
making it worse. So what is compared are losses after one temperature each, the frozen head's too:
a loss that calibration alone would lower is no gain of fine-tuning.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.images.splits import SPLITS, VAL
from pipeline.runs.calibration import apply_temperature, find_temperature
from pipeline.runs.records import Predictions
from pipeline.runs.scores import mean_log_loss

# Nats. Less than this lies within the rounding of the trunk cache and of the recorded predictions.
LEAST_GAIN = 1e-4


@dataclass(frozen=True)
class Scores:
    """What a network makes of the validation images.

    Args:
        accuracy: share of right ones.
        loss: log-loss as the network is, in nats.
        temperature: the one that gives the lowest loss.
        calibrated_loss: log-loss at that temperature.
    """

    accuracy: float
    loss: float
    temperature: float
    calibrated_loss: float


def score(labels: np.ndarray, probabilities: np.ndarray) -> Scores:
    """Scores probabilities (n_samples, n_classes), as they are and calibrated."""
    temperature = find_temperature(labels, probabilities)
    return Scores(
        accuracy=float((probabilities.argmax(axis=1) == labels).mean()),
        loss=mean_log_loss(labels, probabilities),
        temperature=temperature,
        calibrated_loss=mean_log_loss(labels, apply_temperature(probabilities, temperature)),
    )


def score_validation(predictions: Predictions) -> Scores:
    """Scores the validation images."""
    rows = predictions.splits == VAL
    return score(predictions.labels[rows], predictions.probabilities[rows])


def calibrated_losses(predictions: Predictions) -> dict[str, float]:
    """Log-loss of each split at the temperature that suits validation best."""
    temperature = score_validation(predictions).temperature
    calibrated = apply_temperature(predictions.probabilities, temperature)
    return {
        name: mean_log_loss(predictions.labels[rows], calibrated[rows])
        for name, rows in ((name, predictions.splits == n) for n, name in enumerate(SPLITS))
        if rows.any()
    }


def beats(accuracy: float, loss: float, frozen: Scores) -> bool:
    """Whether a network is better than the frozen head: a lower loss, and no less accuracy.

    Args:
        loss: calibrated.
    """
    return accuracy >= frozen.accuracy and loss < frozen.calibrated_loss - LEAST_GAIN
