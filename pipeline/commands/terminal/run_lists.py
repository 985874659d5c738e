"""The list of runs: a table for each set of images that were scored, the best run first."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.table import Table

from pipeline.commands.terminal.lists import SETTINGS, Row, list_tables, to_minutes
from pipeline.runs.listing import RECIPE_SETTINGS
from pipeline.system.printable import printable

if TYPE_CHECKING:
    from pipeline.system.options import OptionField

_FACTS = {
    "seed": "seed",
    "val_fraction": "val fraction",
    "test_fraction": "test fraction",
    "group_by": "groups by",
    "rule": "rule",
}
_ID_LETTERS = 8
_SHARED = ("seed", "promise", "unlike", "calibrate", "labels", "merge", "classes")


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
    differences = [find_differences(group) for group in shown]
    alike = [group for group, differing in zip(shown, differences, strict=True) if not differing]
    rows_alike = [[_describe_run(entry) for entry in group] for group in alike]
    important = (">accuracy", ">log-loss", "95%", SETTINGS, "made")
    tables = iter(list_tables(rows_alike, important, width) if alike else [])
    return [
        RunTable(
            _make_heading(group, groups, differing),
            _compare(rows, differing, width) if differing else next(tables),
            len(group) - len(rows),
        )
        for group, rows, differing in zip(groups, shown, differences, strict=True)
    ]


def _compare(group: list[dict[str, Any]], differing: list[str], width: int) -> Table:
    """A table of the runs with a column for each setting that differs."""
    rows = []
    for entry in group:
        row, settings = _describe_run(entry), _list_settings(entry)
        made = row.pop("made")
        del row[SETTINGS]
        rows.append({**row, **{name: settings.get(name, "") for name in differing}, "made": made})
    important = (">accuracy", ">log-loss", *differing, "95%", "made")
    (table,) = list_tables([rows], important, width)
    return table


def find_differences(group: list[dict[str, Any]]) -> list[str]:
    """Names of the settings that are not the same for all runs that have them."""
    values: dict[str, set[str]] = {}
    for entry in group:
        for name, value in _list_settings(entry).items():
            values.setdefault(name, set()).add(value)
    return [name for name, found in values.items() if len(found) > 1]


def _list_settings(entry: dict[str, Any]) -> dict[str, str]:
    """What decides a run's scores, by the name that the command line has for it."""
    name, equals, value = entry["chosen"].partition(" = ")
    parameters = {
        _name_option(option): _write_value(entry["parameters"][option.name])
        for option in _list_options(entry["kind"])
        if option.name in entry["parameters"]
    }
    more = {
        option: _write_value(entry["parameters"][option])
        for option in _SHARED
        if option in entry["parameters"]
    }
    return {
        "head": entry["kind"],
        "backbone": _write_of_backbones(entry, "backbone"),
        "pixels": _write_of_backbones(entry, "image_size"),
        **{name: _write_of_backbones(entry, name) for name in RECIPE_SETTINGS},
        **more,
        **parameters,
        **({name: printable(value)} if equals else {"chosen": printable(entry["chosen"])}),
    }


def _write_of_backbones(entry: dict[str, Any], name: str) -> str:
    """A setting of a run's recipe, or `224+288` where it has several that differ in it."""
    recipes = [entry, *entry.get("further_backbones", [])]
    written = [_write_value(recipe.get(name)) for recipe in recipes]
    return "+".join(written) if len(set(written)) > 1 else written[0]


def _write_value(value: Any) -> str:
    if value is None or value is False:
        return "-"
    if value is True:
        return "yes"
    return f"{value:g}" if isinstance(value, float) else printable(str(value))


def _identify(entry: dict[str, Any]) -> tuple[str, str, str]:
    """What was scored; a run that does not say it is compared with no other."""
    return entry["data_root"], entry["split"], entry["scored_images"] or entry["run"]


def _make_heading(
    group: list[dict[str, Any]], groups: list[list[dict[str, Any]]], differing: list[str]
) -> str:
    first = group[0]
    root, split, _ = _identify(first)
    others = [other[0] for other in groups if _identify(other[0])[:2] == (root, split)]
    parts = [f"{first['data_name']}, {split} split", f"{first['n_samples']:,} images"]
    if len(others) > 1:
        parts += _tell_apart(first, others)
    heading = printable(f"{', '.join(parts)} ({root})")
    if not differing:
        return heading
    common = describe_settings(first["kind"], first["chosen"], first["parameters"], differing)
    return f"{heading}\nall: {common}" if common else heading


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


def describe_settings(
    kind: str, chosen: str, parameters: dict[str, Any], leave_out: Collection[str] = ()
) -> str:
    """The head, what was chosen and what was set to something else than the default, in short.

    Args:
        leave_out: names of settings that are told elsewhere.
    """
    chosen = chosen.replace(" = ", "=")
    words = [] if "head" in leave_out else [kind]
    if not {"chosen", chosen.partition("=")[0]} & set(leave_out):
        words.append(chosen)
    for option in _list_options(kind):
        value, name = parameters.get(option.name, option.default), _name_option(option)
        if value == option.default or option.name == "seed" or chosen.startswith(f"{name}="):
            continue
        if name not in leave_out:
            words.append(_say(name, value))
    return printable(", ".join(words))


def _list_options(kind: str) -> "list[OptionField]":
    """The options of a kind of run; none of a head that is not known here."""
    from pipeline.finetuning.options import FinetuneOptions
    from pipeline.heads.registry import HEADS
    from pipeline.runs.manifest import FINETUNED
    from pipeline.system.options import list_options

    if kind == FINETUNED:
        return list_options(FinetuneOptions)
    return list_options(HEADS[kind].options) if kind in HEADS else []


def _name_option(option: "OptionField") -> str:
    return (option.facts.flag or option.name).replace("_", " ").replace("-", " ")


def _say(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
