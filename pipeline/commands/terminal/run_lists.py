"""The list of runs: a table for each set of images that were scored, the best run first."""

from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePath
from typing import Any

from rich.table import Table

from pipeline.commands.terminal.lists import SETTINGS, Row, list_tables, to_minutes
from pipeline.system.printable import printable

_FACTS = {
    "seed": "seed",
    "val_fraction": "val fraction",
    "test_fraction": "test fraction",
    "group_by": "groups by",
    "rule": "rule",
}
_ID_LETTERS = 8


@dataclass(frozen=True)
class RunTable:
    """Runs that can be compared.

    Args:
        heading: the data set, the split, how many images, and how they were divided.
        table: of the runs.
        n_more: runs that are not in the table, none of them better.
    """

    heading: str
    table: Table
    n_more: int


def run_tables(entries: list[dict[str, Any]], width: int, most: int | None) -> list[RunTable]:
    """A table for each set of images, in the order of the entries.

    Args:
        entries: as `list_runs` gives them.
        width: characters.
        most: runs in a table; None for all.
    """
    groups = [list(group) for _, group in groupby(entries, _identify)]
    shown = [group if most is None else group[:most] for group in groups]
    rows = [[_describe_run(entry) for entry in group] for group in shown]
    tables = list_tables(rows, (">accuracy", ">log-loss", "95%", SETTINGS, "made"), width)
    return [
        RunTable(_make_heading(group, groups), table, len(group) - len(rows_of_group))
        for group, table, rows_of_group in zip(groups, tables, rows, strict=True)
    ]


def _identify(entry: dict[str, Any]) -> tuple[str, str, str]:
    """What was scored; a run that does not say it is compared with no other."""
    return entry["data_root"], entry["split"], entry["scored_images"] or entry["run"]


def _make_heading(group: list[dict[str, Any]], groups: list[list[dict[str, Any]]]) -> str:
    first = group[0]
    root, split, _ = _identify(first)
    others = [other[0] for other in groups if _identify(other[0])[:2] == (root, split)]
    parts = [f"{PurePath(root).name}, {split} split", f"{first['n_samples']:,} images"]
    if len(others) > 1:
        parts += _tell_apart(first, others)
    return printable(f"{', '.join(parts)} ({root})")


def _tell_apart(first: dict[str, Any], others: list[dict[str, Any]]) -> list[str]:
    """How its images were divided, where the others' were divided otherwise."""
    told = [
        f"{words} {first['splits'][name]}"
        for name, words in _FACTS.items()
        if len({str(other["splits"].get(name)) for other in others}) > 1
        and first["splits"].get(name) is not None
    ]
    same = [
        other
        for other in others
        if all(_fact(other, name) == _fact(first, name) for name in _FACTS)
    ]
    if len(same) > 1:
        images = first["scored_images"]
        told.append(f"images {images[:_ID_LETTERS]}" if images else "which images is unknown")
    return told


def _fact(entry: dict[str, Any], name: str) -> str:
    return str(entry["splits"].get(name))


def _describe_run(entry: dict[str, Any]) -> Row:
    low, high = entry["accuracy_interval"]
    return {
        "run": printable(entry["run"]),
        ">accuracy": f"{entry['accuracy']:.4f}",
        "95%": f"{low:.3f}-{high:.3f}",
        ">log-loss": f"{entry['log_loss']:.4f}",
        SETTINGS: describe_settings(entry["kind"], entry["chosen"], entry["parameters"]),
        "made": to_minutes(entry["created"]),
    }


def describe_settings(kind: str, chosen: str, parameters: dict[str, Any]) -> str:
    """The head, what was chosen and what was set to something else than the default, in short."""
    from pipeline.finetuning.options import FinetuneOptions
    from pipeline.heads.registry import HEADS
    from pipeline.runs.manifest import FINETUNED
    from pipeline.system.options import list_options

    options = (
        FinetuneOptions if kind == FINETUNED else HEADS[kind].options if kind in HEADS else None
    )
    chosen = chosen.replace(" = ", "=")
    words = [kind, chosen]
    for option in [] if options is None else list_options(options):
        value = parameters.get(option.name, option.default)
        name = (option.facts.flag or option.name).replace("_", " ").replace("-", " ")
        if value == option.default or option.name == "seed" or chosen.startswith(f"{name}="):
            continue
        words.append(_say(name, value))
    return printable(", ".join(words))


def _say(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
