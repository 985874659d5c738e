"""A search for settings of fine-tuning on the terminal: the table of what was tried."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from pipeline.commands.terminal.tables import MOST_ROWS, make_table
from pipeline.runs.manifest import SearchPart
from pipeline.runs.searched_settings import describe_setting
from pipeline.system.printable import count


def search_table(search: SearchPart) -> Table:
    """The settings, those that came furthest first; changes are those of the frozen head's scores.

    Means are over all images that judged a setting, in whichever round; where it was trained
    several times in a round, what is scored is the mean of the weights.
    """
    table = make_table(">", "setting", ">rounds", ">images", ">points", ">log-loss", ">seconds")
    table.collapse_padding = True
    tried: dict[int, list[dict[str, Any]]] = {}
    for trial in search.trials:
        tried.setdefault(trial["setting"], []).append(trial)
    scored = {setting: list(_last_of_each_round(trials)) for setting, trials in tried.items()}
    ranked = sorted(scored, key=lambda n: (-len(scored[n]), _change(scored[n], "log_loss")))
    for setting in ranked[:MOST_ROWS]:
        trials = scored[setting]
        table.add_row(
            f"{setting}",
            Text(describe_setting(trials[0]["values"])),
            f"{len(trials)}",
            f"{sum(trial['n_images'] for trial in trials):,}",
            f"{100 * _change(trials, 'accuracy'):+.1f}",
            f"{_change(trials, 'log_loss'):+.4f}",
            f"{sum(trial['seconds'] for trial in tried[setting]):.0f}",
        )
    return table


def describe_search(search: SearchPart) -> str:
    """What the table is of, and how much of it is luck."""
    n_settings = count(search.n_settings, "setting")
    n_trainings = count(len(search.trials), "training")
    words = f"Searched {n_settings} in {n_trainings}: {search.winner} came first."
    return f"{words} {search.luck}".rstrip()


def _last_of_each_round(trials: Sequence[dict[str, Any]]) -> Iterable[dict[str, Any]]:
    return {trial["round"]: trial for trial in trials}.values()


def _change(trials: Sequence[dict[str, Any]], name: str) -> float:
    """Of a score, from the frozen head to the tuned network, over all images."""
    n_images = sum(trial["n_images"] for trial in trials)
    changes = (trial["n_images"] * (trial[name] - trial[f"frozen_{name}"]) for trial in trials)
    return float(sum(changes) / n_images)
