"""What a search leaves in the run of its winner: a part of the manifest, and `trials.csv`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.finetuning.search.luck import Luck
from pipeline.finetuning.search.options import SearchOptions
from pipeline.finetuning.search.trials import Trial
from pipeline.runs.manifest import SearchPart
from pipeline.runs.searched_settings import Setting, describe_setting
from pipeline.system.csv_files import write_csv

TRIALS = "trials.csv"


def describe_search(
    wanted: SearchOptions, winner: Setting, trials: Sequence[Trial], luck: Luck | None
) -> SearchPart:
    """The search as the manifest has it."""
    return SearchPart(
        budget_seconds=wanted.seconds,
        n_settings=len({trial.setting for trial in trials}),
        winner=describe_setting(winner),
        trials=[trial.facts() for trial in trials],
        luck="" if luck is None else luck.describe(),
    )


def write_trials(path: Path, search: SearchPart) -> None:
    """Writes a row for each training, its setting in as many columns as settings have."""
    names = list(dict.fromkeys(name for trial in search.trials for name in trial["values"]))
    facts = [name for name in search.trials[0] if name != "values"]
    write_csv(path, [[*facts, *names], *(_row(trial, facts, names) for trial in search.trials)])


def _row(trial: dict[str, Any], facts: list[str], names: list[str]) -> list[Any]:
    return [*(trial[name] for name in facts), *(trial["values"].get(name) for name in names)]
