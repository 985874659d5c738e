"""L-BFGS for a loss with a quadratic penalty that keeps what it learned when the penalty changes.

What it learned are pairs (step, change of gradient). The penalty's part of a pair is known exactly,
so each is put right for a new penalty instead of being thrown away.

Source: J. Nocedal and S. Wright, "Numerical Optimization", 2006, algorithms 7.4 and 3.1; the second
rule of `_is_enough` is W. Hager and H. Zhang, "A new conjugate gradient method with guaranteed
descent", SIAM J. Optim. 16 (2005), equation 4.1.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

MOST_PAIRS, LEAST_PAIRS = 30, 8
PAIRS_BYTES = 128 * 2**20  # of large problems, where more pairs save no steps and cost time

_DESCENT = 1e-4  # share of the decrease that the gradient promises
_MOST_HALVINGS = 20


@dataclass(frozen=True)
class Value:
    """A function at a point: its value, and its gradient in the shape of the point, float64."""

    value: float
    gradient: np.ndarray


class Pairs:
    """Steps and changes of the gradient, float32, of points `(n_features + 1, n_classes)`.

    The last row of a point, the intercepts, is not penalised.
    """

    def __init__(self, shape: tuple[int, int]):
        self._shape = shape
        n_bytes_each = 2 * 4 * shape[0] * shape[1]
        n_pairs = max(LEAST_PAIRS, min(MOST_PAIRS, PAIRS_BYTES // n_bytes_each))
        self._pairs: deque[tuple[np.ndarray, np.ndarray, float]] = deque(maxlen=n_pairs)
        self._penalty = 0.0

    def set_penalty(self, penalty: float) -> None:
        """Puts the pairs right for a penalty of `penalty / 2` times the sum of squares."""
        more, self._penalty = penalty - self._penalty, penalty
        for _ in range(len(self._pairs)):
            step, change, _ = self._pairs.popleft()
            change[:-1] += np.float32(more) * step[:-1]
            self._append(step, change)

    def add(self, step: np.ndarray, change: np.ndarray) -> None:
        """Takes a step and what it did to the gradient."""
        self._append(step.astype(np.float32), change.astype(np.float32))

    def _append(self, step: np.ndarray, change: np.ndarray) -> None:
        product = float(np.vdot(step, change))
        if product > 1e-10 * float(np.vdot(step, step)):  # else rounding hides the curvature
            self._pairs.append((step, change, product))

    def multiply(
        self, gradient: np.ndarray, divide_by_curvature: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """The gradient times the inverse of the second derivative, as far as it is known; float32.

        Args:
            divide_by_curvature: the same by what is known without pairs.
        """
        from scipy.linalg.blas import saxpy

        rest = gradient.astype(np.float32).reshape(-1)
        factors = []
        for step, change, product in reversed(self._pairs):
            factor = float(np.vdot(step, rest)) / product
            rest = saxpy(change.reshape(-1), rest, a=-factor)
            factors.append(factor)
        found = divide_by_curvature(rest.reshape(self._shape)).reshape(-1)
        if self._pairs:
            _, change, product = self._pairs[-1]
            found *= np.float32(product / np.vdot(change, divide_by_curvature(change)))
        for (step, change, product), factor in zip(self._pairs, reversed(factors), strict=True):
            more = factor - float(np.vdot(change, found)) / product
            found = saxpy(step.reshape(-1), found, a=more)
        return found.reshape(self._shape)


@dataclass(frozen=True)
class Minimum:
    """Where a minimisation ended.

    Args:
        point: float64.
        here: the function there.
        n_steps: taken.
        is_reached: whether what was left to gain fell below what was asked for.
    """

    point: np.ndarray
    here: Value
    n_steps: int
    is_reached: bool


def minimise(
    evaluate: Callable[[np.ndarray], Value],
    point: np.ndarray,
    here: Value,
    pairs: Pairs,
    divide_by_curvature: Callable[[np.ndarray], np.ndarray],
    *,
    find_limit: Callable[[np.ndarray, Value], float],
    max_steps: int,
    rounding: float,
    on_step: Callable[[float, float], None] = lambda left, limit: None,
) -> Minimum:
    """Goes downhill until no more than a limit is left to gain, by the second derivative as known.

    Args:
        here: the function at `point`.
        find_limit: the least gain that is worth a step, at a point with a value.
        rounding: the share of the function's value that may be rounding.
        on_step: called with what is left to gain, and the limit.
    """
    n_steps = 0
    while True:
        direction = -pairs.multiply(here.gradient, divide_by_curvature).astype(np.float64)
        slope = float(np.vdot(here.gradient, direction))
        left, limit = -slope / 2, find_limit(point, here)
        on_step(left, limit)
        if left <= limit or n_steps == max_steps:
            return Minimum(point, here, n_steps, left <= limit)
        found = _search(evaluate, point, here, direction, slope, rounding)
        if found is None:
            return Minimum(point, here, n_steps, is_reached=False)
        new_point, there = found
        pairs.add(new_point - point, there.gradient - here.gradient)
        point, here, n_steps = new_point, there, n_steps + 1


def _search(
    evaluate: Callable[[np.ndarray], Value],
    point: np.ndarray,
    here: Value,
    direction: np.ndarray,
    slope: float,
    rounding: float,
) -> tuple[np.ndarray, Value] | None:
    """A point along a direction that is low enough; None where rounding hides all of them."""
    length = 1.0
    for _ in range(_MOST_HALVINGS):
        new_point = point + length * direction
        there = evaluate(new_point)
        new_slope = float(np.vdot(there.gradient, direction))
        if _is_enough(here, there, length, slope, new_slope, rounding):
            return new_point, there
        # The parabola through both values and the slope here has its minimum there.
        bend = 2 * (there.value - here.value - length * slope)
        best = -slope * length**2 / bend if bend > 0 else 0.0
        length = min(max(best, 0.1 * length), 0.5 * length)
    return None


def _is_enough(
    here: Value, there: Value, length: float, slope: float, new_slope: float, rounding: float
) -> bool:
    if there.value <= here.value + _DESCENT * length * slope:
        return True
    is_level = there.value <= here.value + rounding * abs(here.value)
    return is_level and new_slope <= (2 * _DESCENT - 1) * slope
