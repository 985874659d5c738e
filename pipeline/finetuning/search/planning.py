"""From what was asked for to a plan: what settings cost, and how many fit."""

import math

from pipeline.errors import ParameterError
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.parent import Parent
from pipeline.finetuning.search.clock import Clock
from pipeline.finetuning.search.costs import StepCosts
from pipeline.finetuning.search.estimate import Estimate
from pipeline.finetuning.search.options import SearchOptions
from pipeline.finetuning.search.rounds import Plan, plan_for_seconds, plan_for_trials
from pipeline.finetuning.search.settings import Space
from pipeline.images.splits import TRAIN, VAL
from pipeline.system.printable import count, describe_duration


def make_estimate(
    costs: StepCosts, space: Space, options: FinetuneOptions, parent: Parent, *, uses_cache: bool
) -> Estimate:
    """What rounds will take.

    Args:
        uses_cache: whether trainings begin at the lowest line.
    """
    splits = parent.before.splits
    n_train, n_judging = (int((splits == split).sum()) for split in (TRAIN, VAL))
    n_rows = (n_train * (options.views + 1) + n_judging) if uses_cache else 0
    return Estimate(costs, space, n_rows, n_train, n_judging, len(splits))


def may_lengthen(options: FinetuneOptions) -> bool:
    """Whether trainings may have more epochs than the options say: not where they were given."""
    return options.epochs == FinetuneOptions.epochs


def make_plan(
    estimate: Estimate,
    options: FinetuneOptions,
    wanted: SearchOptions,
    clock: Clock,
    *,
    divides: bool,
) -> Plan:
    """The plan that was asked for, or the most that there is time for.

    Args:
        divides: the rounds before the last are judged by other images.

    Raises:
        ParameterError: the budget has no room for one epoch.
    """
    n_settings = len(estimate.space.settings)
    most = n_settings if wanted.trials is None else min(wanted.trials, n_settings)
    if clock.budget is None:
        return plan_for_trials(most, options.epochs, estimate.seconds, divides=divides)
    plan = plan_for_seconds(
        clock.left,
        most,
        options.epochs,
        estimate.seconds,
        divides=divides,
        may_lengthen=may_lengthen(options),
    )
    if plan is None:
        least = clock.used + estimate.least()
        raise ParameterError(
            "The budget has no room for one epoch with all that comes before and after it. "
            f"Expected {describe_duration(math.ceil(least))} or more. Received: "
            f"`budget={wanted.budget}`",
            "budget",
        )
    return plan


def describe_plan(plan: Plan, clock: Clock) -> str:
    """What will be done and what it costs, in a sentence or two."""
    *rounds, last = plan.rounds
    steps = [
        f"{count(one.n_settings, 'setting')} for {count(one.epochs, 'epoch')}" for one in rounds
    ]
    steps.append(f"the best for {count(last.epochs, 'epoch')}")
    if last.repeats > 1:
        steps[-1] += f", {last.repeats} times or more, whose weights are averaged"
    what = (
        f"{', then '.join(steps)}; {plan.n_epochs} epochs in all"
        if rounds or last.repeats > 1
        else f"one training of {count(last.epochs, 'epoch')}, and no search"
    )
    if clock.budget is not None and not rounds and last.repeats == 1:
        what += ", and once more if there is time"
    limit = "" if clock.budget is None else f" of {describe_duration(clock.budget)}"
    return (
        f"Plan: {what}. All takes about {describe_duration(clock.used + plan.seconds)}{limit}; "
        f"{describe_duration(clock.used)} have passed."
    )
