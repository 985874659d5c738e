"""Calibration by temperature: one number that makes a network as sure as it is right.

Source: Guo et al., "On calibration of modern neural networks", ICML 2017.
"""

import numpy as np

from pipeline.heads.linear import softmax
from pipeline.metrics import mean_log_loss

LEAST, GREATEST = 0.2, 5.0
_AT_BOUND = 1.01  # the search stops a little short of a bound


def find_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature that gives the lowest log-loss, 1 = as they are, above 1 = less sure.

    Args:
        labels: int (n_samples,).
        probabilities: (n_samples, n_classes).

    Returns:
        A number between LEAST and GREATEST; 1 where the loss falls up to one of these, as it does
        where every sample is right: there is no best temperature then.
    """
    from scipy.optimize import minimize_scalar

    if not np.isfinite(probabilities).all():
        return 1.0
    found = minimize_scalar(
        lambda t: mean_log_loss(labels, apply_temperature(probabilities, float(np.exp(t)))),
        bounds=(np.log(LEAST), np.log(GREATEST)),
        method="bounded",
    )
    temperature = float(np.exp(found.x))
    is_inside = LEAST * _AT_BOUND < temperature < GREATEST / _AT_BOUND
    return temperature if is_inside else 1.0


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities of the same scores divided by a temperature."""
    scores = np.log(np.clip(probabilities.astype(np.float64), 1e-30, 1.0)) / temperature
    return softmax(scores)


def soften(head, temperature: float) -> None:
    """Divides a Keras head's scores by a temperature, in the weights of its last layer."""
    layer = getattr(head, "layers", [head])[-1]
    layer.set_weights([weights / temperature for weights in layer.get_weights()])
