"""Calibration by temperature: one number that makes a network as sure as it is right.

Source: Guo et al., "On calibration of modern neural networks", ICML 2017.
"""

import numpy as np

from pipeline.heads.linear import softmax
from pipeline.metrics import mean_log_loss

LEAST, GREATEST = 0.2, 5.0


def find_temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """The temperature that gives the lowest log-loss, 1 = as they are, above 1 = less sure.

    Args:
        labels: int (n_samples,).
        probabilities: (n_samples, n_classes).

    Returns:
        A number in LEAST..GREATEST.
    """
    from scipy.optimize import minimize_scalar

    if not np.isfinite(probabilities).all():
        return 1.0
    found = minimize_scalar(
        lambda t: mean_log_loss(labels, apply_temperature(probabilities, float(np.exp(t)))),
        bounds=(np.log(LEAST), np.log(GREATEST)),
        method="bounded",
    )
    return float(np.exp(found.x))


def apply_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities of the same scores divided by a temperature."""
    scores = np.log(np.clip(probabilities.astype(np.float64), 1e-30, 1.0)) / temperature
    return softmax(scores)
