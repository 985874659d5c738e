"""How much of the budget is left, over all processes that worked at one search."""

import math
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Clock:
    """A budget that runs.

    Args:
        budget: seconds, None = no limit.
        started: when this process began, by `time.perf_counter`.
        used_before: seconds that processes before this one took.
    """

    budget: float | None
    started: float
    used_before: float = 0.0

    @property
    def used(self) -> float:
        """Seconds, by all processes together."""
        return self.used_before + time.perf_counter() - self.started

    @property
    def left(self) -> float:
        """Seconds; infinite where there is no limit."""
        return math.inf if self.budget is None else self.budget - self.used
