"""Calibration by temperature: one number that makes a network as sure as it is right.

Sources: Guo et al., "On calibration of modern neural networks", ICML 2017; for samples that are
all right, Platt, "Probabilistic outputs for support vector machines", 1999 (a part in n + 2).
"""

from typing import TYPE_CHECKING

import numpy as np

from pipeline.runs.scores import mean_log_loss, softmax

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras

LEAST, GREATEST = 0.01, 100.0
_AT_BOUND = 1.01  # the search stops a little short of a bound


def find_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature that gives the lowest log-loss, 1 = as they are, above 1 = less sure.

    Where every sample is right, surer is better without an end. There each sample counts as its
    label but for one part in n + 2: to be right n times of n proves no more.

    Args:
        labels: int (n_samples,).
        probabilities: (n_samples, n_classes).

    Returns:
        A number between LEAST and GREATEST; 1 where there is no best one, because so many are
        wrong that to know nothing is better, and where the best one gains nothing in the log-loss
        that is reported.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    if not np.isfinite(probabilities).all():
        return 1.0
    is_right = probabilities.argmax(axis=1) == labels
    n_samples, n_classes = probabilities.shape
    doubt = 1 / (n_samples + 2) if is_right.all() else 0.0
    targets = np.full(probabilities.shape, doubt / (n_classes - 1))
    targets[np.arange(n_samples), labels] = 1 - doubt
    scores = _scores(probabilities)

    # Not by way of probabilities, whose rounding to 0 would give the loss a second valley, and not
    # clipped, which would make it flat where a network is far too sure.
    def loss(log_temperature: float) -> float:
        scaled = log_softmax(scores / np.exp(log_temperature), axis=1)
        return float(-(targets * scaled).sum(axis=1).mean())

    bounds = (np.log(LEAST), np.log(GREATEST))
    found = minimize_scalar(loss, bounds=bounds, method="bounded")
    temperature = float(np.exp(found.x))
    is_inside = LEAST * _AT_BOUND < temperature < GREATEST / _AT_BOUND
    calibrated = apply_temperature(probabilities, temperature)
    is_better = mean_log_loss(labels, calibrated) < mean_log_loss(labels, probabilities)
    return temperature if is_inside and is_better else 1.0


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities of the same scores divided by a temperature; at 1 they are left alone."""
    if temperature == 1:
        return probabilities
    return softmax(_scores(probabilities) / temperature)


def _scores(probabilities: np.ndarray) -> np.ndarray:
    # What float32 rounds to 0 counts as the least that it does not.
    least = float(np.finfo(np.float32).tiny)
    scores: np.ndarray = np.log(np.clip(probabilities.astype(np.float64), least, 1.0))
    return scores


def soften(head: "keras.Layer", temperature: float) -> None:
    """Divides a Keras head's scores by a temperature, in the weights of its last layer."""
    layer = getattr(head, "layers", [head])[-1]
    layer.set_weights([weights / temperature for weights in layer.get_weights()])
