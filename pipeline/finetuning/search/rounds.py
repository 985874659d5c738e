"""Rounds of a search: many settings for half of the epochs, the best third once more on other
images, the winner for all epochs, several times over, whose weights are averaged.

Source: successive halving, Jamieson and Talwalkar, "Non-stochastic best arm identification and
hyperparameter optimization", AISTATS 2016. Each training is a whole one, its rate falling to the
end, so that what a round shows is a model that could be kept. With a quarter of the epochs what
won was what learns fastest, not best (docs/fine-tuning.md). Of the mean of several trainings'
weights: Wortsman et al., "Model soups", ICML 2022.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

KEPT_SHARE = 3  # of so many settings one goes on from the first of three rounds
# (settings, times the epochs, trainings of the winner), from the least to the most; the last that
# there is time for is taken. First a mean of several trainings, which paid most often
# (docs/fine-tuning.md), then a choice, then longer trainings, then more of all.
SIZES = (
    (1, 1, 1), (1, 1, 2), (1, 1, 3), (2, 1, 3), (3, 1, 3), (4, 1, 3), (6, 1, 3), (6, 2, 3),
    (9, 2, 3), (12, 2, 4), (24, 2, 4), (24, 4, 5), (48, 4, 5),
)  # fmt: skip
MOST_REPEATS = 5


@dataclass(frozen=True)
class Round:
    """One round.

    Args:
        n_settings: how many are trained.
        epochs: of each training.
        division: number of the division of the images that judges; 0 = the run's own.
        repeats: how often each is trained, with another order of images each time.
    """

    n_settings: int
    epochs: int
    division: int
    repeats: int = 1


@dataclass(frozen=True)
class Plan:
    """What a search is going to do.

    Args:
        rounds: in order; the last has one setting, and trains the model that is kept.
        seconds: that it will take from here on, with what comes after; an estimate.
        is_cut: fewer epochs than were asked for, since there is no time for more.
        is_settled: the epochs of the last round have been decided.
    """

    rounds: tuple[Round, ...]
    seconds: float
    is_cut: bool = False
    is_settled: bool = False

    @property
    def n_trainings(self) -> int:
        return sum(one.n_settings * one.repeats for one in self.rounds)

    @property
    def n_epochs(self) -> int:
        return sum(one.n_settings * one.repeats * one.epochs for one in self.rounds)


def plan_rounds(
    n_settings: int, epochs: int, repeats: int = 1, *, divides: bool
) -> tuple[Round, ...]:
    """The rounds for so many settings.

    Args:
        epochs: of the last round.
        repeats: of the last round.
        divides: each round but the last is judged by other images than the others.
    """
    sizes = [(1, epochs)]
    half = -(-epochs // 2)
    if n_settings >= 4:
        sizes.insert(0, (-(-n_settings // KEPT_SHARE), half))
    if n_settings > 1:
        sizes.insert(0, (n_settings, half))
    numbers = range(1, len(sizes)) if divides else [0] * (len(sizes) - 1)
    *before, last = [
        Round(size, length, division)
        for (size, length), division in zip(sizes, [*numbers, 0], strict=True)
    ]
    return (*before, replace(last, repeats=repeats))


def plan_for_trials(
    n_settings: int,
    epochs: int,
    cost: Callable[[tuple[Round, ...]], float],
    *,
    divides: bool,
) -> Plan:
    """The plan without a limit of time."""
    rounds = plan_rounds(n_settings, epochs, divides=divides)
    return Plan(rounds, cost(rounds))


def plan_for_seconds(
    seconds: float,
    most_settings: int,
    epochs: int,
    cost: Callable[[tuple[Round, ...]], float],
    *,
    divides: bool,
    may_lengthen: bool = True,
) -> Plan | None:
    """The most that there is time for; None where not one epoch is possible.

    Args:
        seconds: that are left.
        most_settings: different ones, no more than there are.
        epochs: of a whole training.
        may_lengthen: trainings may be longer where there is much time.
        cost: seconds that rounds take, with what comes after.
    """
    best = None
    for n_settings, times, repeats in SIZES:
        length = epochs * times if may_lengthen else epochs
        rounds = plan_rounds(min(n_settings, most_settings), length, repeats, divides=divides)
        if cost(rounds) <= seconds:
            best = Plan(rounds, cost(rounds))
    if best is not None:
        return best
    for shorter in range(epochs - 1, 0, -1):
        rounds = plan_rounds(1, shorter, divides=divides)
        if cost(rounds) <= seconds:
            return Plan(rounds, cost(rounds), is_cut=True)
    return None
