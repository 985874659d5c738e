"""How long to search, or how much: what may be asked for, and what a length of time is called."""

import math
import re
from dataclasses import dataclass

from pipeline.errors import ParameterError
from pipeline.system.options import check_options, option

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?")
LEAST_SECONDS = 10.0


@dataclass(frozen=True)
class SearchOptions:
    """A search for settings; without budget and trials there is none.

    Args:
        budget: seconds of the whole command, or text such as `10m` or `1h30m`.
        trials: settings to try; None = as many as the budget has room for.
        keep_size: no larger image size is tried.
    """

    budget: str | None = option(
        None,
        help="Search for better settings, and be done in so long: 90s, 10m, 1h30m.",
        default_words="no search",
    )
    trials: int | None = option(
        None,
        help="Search among so many settings; with a budget, at most.",
        least=1,
        most=1000,
        default_words="as the budget allows",
    )

    keep_size: bool = option(
        False,
        help="Train at the run's image size; a larger one is tried otherwise, in a search and "
        "where the run has its network's usual one.",
    )

    @property
    def is_wanted(self) -> bool:
        return self.budget is not None or self.trials is not None

    @property
    def seconds(self) -> float | None:
        """The budget, None where there is no limit."""
        return None if self.budget is None else read_duration(self.budget)

    def check(self) -> None:
        """Raises a ParameterError for values that make no sense."""
        check_options(self, "fine-tune")
        if self.budget is not None:
            read_duration(self.budget)


NO_SEARCH = SearchOptions()


def make_search_options(
    budget: float | str | None, trials: int | None, *, keep_size: bool = False
) -> SearchOptions:
    """The options of a search from what was given.

    Args:
        budget: a number of seconds, or text.

    Raises:
        ParameterError: a value makes no sense.
    """
    if isinstance(budget, int | float):
        is_number = math.isfinite(budget) and not isinstance(budget, bool)
        budget = f"{budget:.15g}s" if is_number else str(budget)
    made = SearchOptions(budget=budget, trials=trials, keep_size=keep_size)
    made.check()
    return made


def read_duration(text: str) -> float:
    """Seconds of `90s`, `10m`, `1h30m` or `600`.

    Raises:
        ParameterError: it is no such text, or too short for anything.
    """
    words = f"{text}s" if re.fullmatch(r"\d+(\.\d+)?", text) else text
    found = _DURATION.fullmatch(words)
    parts = zip(_UNITS.values(), found.groups() if found else (), strict=False)
    seconds = sum(unit * float(number) for unit, number in parts if number)
    if not seconds >= LEAST_SECONDS:
        raise ParameterError(
            "A budget is a length of time. Expected hours, minutes and seconds such as 10m, 90s or "
            f"1h30m, {LEAST_SECONDS:g}s at least. Received: `budget={text}`",
            "budget",
        )
    return seconds
