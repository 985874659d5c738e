"""The learning-rate sweep: raise the rate step by step, watch the loss, take the steepest safe one.

Source: L. Smith, "Cyclical learning rates for training neural networks", WACV 2017, section 3.3;
the reading of the curve is ours.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

LOWEST, HIGHEST = 1e-6, 1e-1
N_STEPS = 60
SMOOTHING = 0.8
# Beyond this multiple of the lowest loss the sweep ends.
EXPLODED = 3.0
# Steps before the rise of the loss that are no longer safe: a factor of 10 in the rate.
SAFETY = 10.0


def sweep_rates(
    batches: Iterator[Any],
    step: Callable[[Any, float], tuple[float, float]],
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    n_steps: int = N_STEPS,
) -> list[list[float]]:
    """Trains with rates from LOWEST to HIGHEST until the loss explodes.

    Args:
        batches: as many as are asked for.
        step: one step with a batch and a rate; its loss and accuracy.

    Returns:
        [rate, smoothed loss] of each step.
    """
    curve: list[list[float]] = []
    mean = 0.0
    for number, rate in enumerate(np.geomspace(LOWEST, HIGHEST, n_steps)):
        loss, _ = step(next(batches), float(rate))
        on_progress("Rate sweep", number + 1, n_steps)
        if not np.isfinite(loss):
            break
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smooth = mean / (1 - SMOOTHING ** (number + 1))
        curve.append([float(rate), float(smooth)])
        if number > n_steps // 4 and smooth > EXPLODED * min(value for _, value in curve):
            break
    return curve


def choose_rate(curve: list[list[float]]) -> float | None:
    """The rate at which the loss falls steepest, at most a tenth of the one where it is lowest.

    Args:
        curve: [rate, smoothed loss], rates rising.

    Returns:
        None where the loss never falls.
    """
    if len(curve) < 5:
        return None
    rates, losses = np.array(curve).T
    lowest = int(losses.argmin())
    if lowest < 3 or losses[lowest] >= losses[0]:
        return None
    slopes = np.gradient(losses[: lowest + 1], np.log(rates[: lowest + 1]))
    return float(min(rates[int(slopes.argmin())], rates[lowest] / SAFETY))
