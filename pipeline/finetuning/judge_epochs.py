"""What an epoch is worth: whether it has diverged, its scores on validation, whether it wins.

Training end to end makes a network too sure of itself (and label smoothing too unsure) without
making it worse. So what is compared are losses after one temperature each, the frozen head's too:
a loss that calibration alone would lower is no gain of fine-tuning.
"""

from dataclasses import dataclass, field

import numpy as np

from pipeline.images.splits import SPLITS, VAL
from pipeline.runs.calibration import apply_temperature, find_temperature
from pipeline.runs.predictions import Predictions
from pipeline.runs.scores import mean_log_loss

# Nats. Less than this lies within the rounding of the trunk cache and of the recorded predictions.
LEAST_GAIN = 1e-4
# A divergence is stepped back from so often, and the rate multiplied by that each time.
MAX_DIVERGENCES = 3
RATE_AFTER_DIVERGENCE = 0.3
_LAST_STEPS = 10


class DivergedError(Exception):
    """Training has gone astray; the message says how."""


@dataclass(frozen=True)
class Scores:
    """What a network makes of the validation images.

    Args:
        accuracy: share of right ones.
        loss: log-loss as the network is, in nats.
        temperature: the one that gives the lowest loss.
        calibrated_loss: log-loss at that temperature.
        probabilities: what was scored, (n_samples, n_classes).
    """

    accuracy: float
    loss: float
    temperature: float
    calibrated_loss: float
    probabilities: np.ndarray = field(
        default_factory=lambda: np.zeros((0, 0), np.float32), repr=False, compare=False
    )


def score(labels: np.ndarray, probabilities: np.ndarray) -> Scores:
    """Scores probabilities (n_samples, n_classes), as they are and calibrated."""
    temperature = find_temperature(labels, probabilities)
    return Scores(
        accuracy=float((probabilities.argmax(axis=1) == labels).mean()),
        loss=mean_log_loss(labels, probabilities),
        temperature=temperature,
        calibrated_loss=mean_log_loss(labels, apply_temperature(probabilities, temperature)),
        probabilities=probabilities,
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


def require_bounded(losses: list[float], n_classes: int) -> None:
    """Raises a DivergedError if the last steps' losses are beyond what chance would give."""
    last = losses[-_LAST_STEPS:]
    chance = np.log(n_classes)
    if not np.isfinite(last[-1]):
        raise DivergedError(f"the loss became {last[-1]}")
    if len(last) == _LAST_STEPS and np.mean(last) > 2 * chance + 1:
        raise DivergedError(
            f"the loss of the last {_LAST_STEPS} steps rose to {np.mean(last):.1f}, chance is "
            f"{chance:.1f}"
        )


def require_finite(weights: list[np.ndarray]) -> None:
    """Raises a DivergedError if a weight is infinite or no number."""
    if not all(np.isfinite(values).all() for values in weights):
        raise DivergedError("weights are not finite")


def require_sense(scores: Scores, frozen: Scores, n_classes: int) -> None:
    """Raises a DivergedError if validation lost half of what the frozen head has above chance.

    That is a step too far, not a detour.
    """
    chance = 1 / n_classes
    if not np.isfinite(scores.calibrated_loss):
        raise DivergedError(f"the validation loss became {scores.calibrated_loss}")
    if frozen.accuracy > chance + 0.1 and scores.accuracy < (frozen.accuracy + chance) / 2:
        raise DivergedError(
            f"validation accuracy fell from {frozen.accuracy:.3f} to {scores.accuracy:.3f}, "
            f"chance is {chance:.3f}"
        )
