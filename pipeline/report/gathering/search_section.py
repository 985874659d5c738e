"""What a search for settings tried, as a section of a report."""

from typing import Any

from pipeline.report.contents import Fact, Section
from pipeline.runs.manifest import FinetuningPart
from pipeline.runs.searched_settings import describe_setting
from pipeline.system.printable import describe_duration, printable

_COLUMNS = (
    *("training", "setting", "round", "epochs", "seconds", "images"),
    *("accuracy", "frozen", "log-loss", "frozen"),
)


def list_search(tuned: FinetuningPart | None) -> list[Section]:
    """What was asked for, what came first, and each training; none where settings were given."""
    if tuned is None or tuned.search is None:
        return []
    search = tuned.search
    facts = {"settings tried": f"{search.n_settings:,}", "came first": printable(search.winner)}
    if search.budget_seconds is not None:
        facts["budget"] = describe_duration(search.budget_seconds)
    if any(_is_of_a_mean(trial) for trial in search.trials):
        facts["mean"] = "of the weights of that training and of those before it in its round"
    rows = [_list_training(number, trial) for number, trial in enumerate(search.trials, 1)]
    return [Section("Search", [Fact(*fact) for fact in facts.items()], [_COLUMNS, *rows])]


def _list_training(number: int, trial: dict[str, Any]) -> list[str]:
    setting = f"{trial['setting']}: {printable(describe_setting(trial['values']))}"
    scores = ("accuracy", "frozen_accuracy", "log_loss", "frozen_log_loss")
    return [
        f"{number}, mean" if _is_of_a_mean(trial) else str(number),
        setting,
        *(f"{trial[name]:,}" for name in ("round", "epochs")),
        f"{trial['seconds']:,.0f}",
        f"{trial['n_images']:,}",
        *(f"{trial[name]:.4f}" for name in scores),
    ]


def _is_of_a_mean(trial: dict[str, Any]) -> bool:
    """Whether its scores are of several trainings' mean; older searches had none of these."""
    return bool(trial.get("repeat", 1) > 1)
