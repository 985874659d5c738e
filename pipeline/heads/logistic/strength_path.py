"""The path of strengths of regularisation: fitting along it, choosing, and refining the choice."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.heads.logistic.multinomial import Regression, State
from pipeline.system.progress import OnProgress

# From strong to weak regularisation in half decades. Features are standardised, so these fit
# every backbone; the path ends early where the validation loss has turned.
C_PATH = tuple(float(f"{C:.3g}") for C in np.logspace(-5, 2, 15))
PATIENCE = 3
CLEARLY_WORSE = 1.01

# The solver stops when no more than this share of the train loss is left to gain. (scikit-learn's
# limit is one for the gradient: it stops too early where the loss is small or the classes many.)
# Scanning at 3e-5 finds the validation loss to half a percent, refining to 1e-7 the probabilities
# to less than 1e-3. Both compute in float32; at the end float64 sees whether anything is left.
SCAN_TOLERANCE = 3e-5
REFINED_TOLERANCE = 1e-7
_IN_FLOAT32: list[tuple[float, type]] = [
    (SCAN_TOLERANCE, np.float32),
    (REFINED_TOLERANCE, np.float32),
]
MAX_ITERATIONS = 1000


@dataclass(frozen=True)
class PathPoint:
    """What one strength of regularisation gave.

    Args:
        C: inverse regularisation strength, scikit-learn's.
        train_loss: log-loss in nats on the train rows, without penalty and class weights.
        train_accuracy: 0..1.
        val_loss: the same on the validation rows; None without any.
        val_accuracy: 0..1; None without validation rows.
        n_iterations: of the solver, those of the refinement included.
        converged: whether the solver reached its tolerance in that many iterations.
        seconds: spent on this point.
    """

    C: float
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    n_iterations: int
    converged: bool
    seconds: float


def lowest_val_loss(path: list[PathPoint]) -> int:
    """Index of the point that is chosen; of equals the most regularised."""
    return min(range(len(path)), key=lambda i: _val_loss(path[i]))


def _val_loss(point: PathPoint) -> float:
    return np.inf if point.val_loss is None else point.val_loss


def fit_at(regression: Regression, C: float, on_progress: OnProgress) -> list[PathPoint]:
    """Fits at one strength, to the end; a path of one point."""
    return [_Solver(regression).refine(C, _Share(on_progress, "Fitting"))]


def follow_strengths(
    regression: Regression, strengths: Sequence[float], on_progress: OnProgress
) -> Iterator[PathPoint]:
    """Fits at each strength, from where the last ones lead, well enough to tell any two apart.

    That is to the tolerance of a choice, in float32 alone: what is left of it changes probabilities
    by less than 1e-3. The regression is left at each point when it is given.

    Args:
        strengths: rising.
    """
    solver = _Solver(regression)
    for number, C in enumerate(strengths):
        shares = (100 * n / len(strengths) for n in (number, number + 1))
        yield solver.follow(C, _Share(on_progress, "Following C", *shares))


class _Solver:
    """Fits and takes the time; `state` can be set to come back to an earlier one."""

    def __init__(self, regression: Regression):
        self._regression = regression

    @property
    def state(self) -> State:
        return self._regression.state

    @state.setter
    def state(self, state: State) -> None:
        self._regression.state = state

    def scan(self, C: float, share: "_Share") -> PathPoint:
        """Fits at C, from where the last fits lead, well enough to compare strengths."""
        return self._fit(C, share, [(SCAN_TOLERANCE, np.float32)])

    def follow(self, C: float, share: "_Share") -> PathPoint:
        """Fits at C, from where the last fits lead, as far as float32 tells."""
        return self._fit(C, share, _IN_FLOAT32)

    def refine(self, C: float, share: "_Share") -> PathPoint:
        """Fits at C, from where the last fit stopped, to the end."""
        return self._fit(C, share, [*_IN_FLOAT32, (REFINED_TOLERANCE, np.float64)])

    def _fit(self, C: float, share: "_Share", goals: list[tuple[float, type]]) -> PathPoint:
        start = time.perf_counter()
        n_iterations, is_converged = 0, False
        last_tolerance = goals[-1][0]
        for tolerance, dtype in goals:
            most = MAX_ITERATIONS - n_iterations
            tell = share.of_limit(last_tolerance / tolerance)
            n_more, is_converged = self._regression.fit(C, tolerance, most, dtype, tell)
            n_iterations += n_more
        return PathPoint(
            C,
            **vars(self.state.scores),
            n_iterations=n_iterations,
            converged=is_converged,
            seconds=time.perf_counter() - start,
        )


class _Share:
    """Tells of the steps of one fit how far a stage is.

    Args:
        first, last: percent of the stage that are done before the fit and after it.
    """

    def __init__(self, on_progress: OnProgress, stage: str, first: float = 0, last: float = 100):
        self._on_progress, self._stage = on_progress, stage
        self._first, self._last = first, last
        self._most_left = 0.0
        self._told = -1

    def of_limit(self, factor: float) -> Callable[[float, float], None]:
        """What to call of each step: with what is left to gain and the limit, times a factor."""
        return lambda left, limit: self._tell(left, factor * limit)

    def _tell(self, left: float, limit: float) -> None:
        """Of what was left to gain at the worst and the limit, on a scale of powers of ten."""
        self._most_left = max(self._most_left, left)
        done = 1.0
        if left > limit:
            done = math.log(self._most_left / left) / math.log(self._most_left / limit)
        percent = int(self._first + done * (self._last - self._first))
        if percent > self._told:
            self._told = percent
            self._on_progress(self._stage, percent, 100)


def search_strength(regression: Regression, on_progress: OnProgress) -> list[PathPoint]:
    """Scans the path, then refines what it would choose until the choice is a refined point.

    The regression is left where the chosen point is.
    """
    solver = _Solver(regression)
    path, states = [], []
    for number, C in enumerate(C_PATH):
        shares = (100 * n / len(C_PATH) for n in (number, number + 1))
        path.append(solver.scan(C, _Share(on_progress, "Choosing C", *shares)))
        states.append(solver.state)
        limit = CLEARLY_WORSE * _val_loss(path[lowest_val_loss(path)])
        if all(_val_loss(point) > limit for point in path[-PATIENCE:]):
            break
    on_progress("Choosing C", 100, 100)
    refined = set()
    while (best := lowest_val_loss(path)) not in refined:
        solver.state = states[best]
        scanned = path[best]
        point = solver.refine(scanned.C, _Share(on_progress, f"Refining C={scanned.C:g}"))
        path[best] = replace(
            point,
            n_iterations=scanned.n_iterations + point.n_iterations,
            seconds=scanned.seconds + point.seconds,
        )
        states[best] = solver.state
        refined.add(best)
    solver.state = states[best]
    return path
