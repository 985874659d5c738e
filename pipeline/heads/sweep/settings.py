"""Grids of settings: the usual one, one from a TOML file, and what a user gives beside it."""

import difflib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pipeline.errors import ParameterError
from pipeline.heads.class_weights import BALANCED
from pipeline.heads.fit import make_options
from pipeline.heads.registry import HEADS, HeadKind, find_head
from pipeline.system.options import OptionField, list_options, to_plain
from pipeline.system.paths import open_regular_file

# By head a list of tables: of each every combination of its values.
Grid = dict[str, list[dict[str, list[Any]]]]

MOST_SETTINGS = 2000
# The heads of the usual grid; the others take long, or seldom win on features of a backbone.
USUAL_HEADS = ("logreg", "dense", "ridge", "neighbours", "class-mean")
_STRENGTHS = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0, 30.0]
_WEIGHTS = [None, BALANCED]
_RATES = [3e-4, 1e-3]
_USUAL: Grid = {
    "logreg": [{"C": _STRENGTHS, "class_weight": _WEIGHTS}],
    "dense": [
        {"hidden_units": [0], "learning_rate": _RATES},
        {"hidden_units": [256], "dropout": [0.2, 0.5], "learning_rate": _RATES},
    ],
    "ridge": [{"class_weight": _WEIGHTS}],
    "svm": [{"C": [1e-5, 1e-4, 1e-3, 1e-2], "class_weight": _WEIGHTS}],
    "elastic-net": [{"l1_ratio": [0.1, 0.5, 0.9], "class_weight": _WEIGHTS}],
    "neighbours": [{"temperature": [0.03, 0.07, 0.2]}],
    "boosting": [{"learning_rate": [0.05, 0.1, 0.2]}],
}


@dataclass(frozen=True)
class Setting:
    """One head to fit.

    Args:
        head: its name in the registry.
        options: those that the grid names; all others have their defaults.
    """

    head: str
    options: dict[str, Any]

    @property
    def kind(self) -> HeadKind:
        return find_head(self.head)

    def make_options(self) -> Any:
        """The head's options dataclass, checked."""
        return make_options(self.kind, self.options)

    @property
    def key(self) -> str:
        """Equal for settings that fit the same head."""
        return json.dumps([self.head, asdict(self.make_options())], sort_keys=True)

    def __str__(self) -> str:
        """Such as `logreg C=0.1 class_weight=balanced`."""
        return " ".join([self.head, *self.words])

    @property
    def words(self) -> list[str]:
        """Such as `C=0.1`, for each option that the grid names and that says something."""
        return [
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
            for name, value in self.shown.items()
            if value != "none"
        ]

    @property
    def shown(self) -> dict[str, Any]:
        """The options that the grid names, with the word that stands for None: `auto`, `none`."""
        entries = {entry.name: entry for entry in list_options(self.kind.options)}
        return {
            name: entries[name].facts.none_word if value is None else value
            for name, value in self.options.items()
        }


def list_settings(
    grid: str | Path | Mapping[str, Any] | None,
    heads: Sequence[str] | None,
    given: Mapping[str, Any],
) -> list[Setting]:
    """The settings of a sweep, each once.

    Args:
        grid: None = the usual one; a TOML file; or by head a dict of options (or several), each a
            value or a list of values.
        heads: names of the heads to try, None = those of the grid.
        given: options of heads, each a value or a list of values, in place of what the grid says.

    Raises:
        HeadError: no such head.
        ParameterError: the grid cannot be read, or an option makes no sense.
    """
    tables = _USUAL if grid is None else _read_grid(grid)
    usual = USUAL_HEADS if grid is None else tuple(tables)
    names = usual if heads is None else tuple(dict.fromkeys(heads))
    if not names:
        raise ParameterError("Expected `grid` to name a head. Received: none", "grid")
    chosen = _give({find_head(name).name: tables.get(name) or [{}] for name in names}, given)
    _require_bounded(chosen)
    settings = [
        Setting(head, dict(zip(table, values, strict=True)))
        for head, some in chosen.items()
        for table in some
        for values in product(*table.values())
    ]
    return list({setting.key: setting for setting in reversed(settings)}.values())[::-1]


def drop_idle_weights(settings: list[Setting], n_train: Sequence[int]) -> list[Setting]:
    """Leaves out settings that differ from another by balanced weights that are all 1.

    Args:
        n_train: training images of each class.
    """
    if len(set(n_train)) > 1:
        return settings

    def strip(setting: Setting) -> Setting:
        options = dict(setting.options)
        if options.get("class_weight") == BALANCED:
            options["class_weight"] = None
        return Setting(setting.head, options)

    found: dict[str, Setting] = {}
    for setting in settings:
        found.setdefault(strip(setting).key, setting)
    return list(found.values())


def _read_grid(grid: str | Path | Mapping[str, Any]) -> Grid:
    if isinstance(grid, Mapping):
        return _check_grid(grid, "the grid")
    path = Path(grid)
    try:
        with open_regular_file(path) as file:
            values = tomllib.loads(file.read().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ParameterError(
            f"The grid cannot be read: {why}. Expected `grid` to be a TOML file with a table for "
            f"each head, such as\n[logreg]\nC = [0.1, 1, 10]\nReceived: {path}",
            "grid",
        ) from error
    return _check_grid(values, str(path))


def _check_grid(values: Mapping[str, Any], place: str) -> Grid:
    grid: Grid = {}
    for head, tables in values.items():
        if head not in HEADS:
            raise ParameterError(
                f"There is no such kind of head. Expected `grid` to have tables called after some "
                f"of {', '.join(HEADS)}. Received: {head!r} in {place}",
                "grid",
            )
        several = [tables] if isinstance(tables, Mapping) else tables
        if not isinstance(several, list) or not all(isinstance(one, Mapping) for one in several):
            raise ParameterError(
                f"Expected `grid` to have a table of options for each head, or several. Received: "
                f"{head} = {tables!r} in {place}",
                "grid",
            )
        grid[head] = [_check_table(head, table, place) for table in several]
    return grid


def _check_table(head: str, table: Mapping[str, Any], place: str) -> dict[str, list[Any]]:
    """Options may be called as in Python or as on the command line."""
    entries = {entry.name: entry for entry in list_options(HEADS[head].options)}
    names = {entry.facts.flag: name for name, entry in entries.items() if entry.facts.flag}
    checked = {}
    for word, values in table.items():
        name = word.replace("-", "_")
        name = names.get(name, name)
        if name not in entries:
            close = difflib.get_close_matches(name, entries, n=3) or list(entries) or ["none"]
            raise ParameterError(
                f"The head {head!r} has no option {word!r}. Expected `grid` to name for example "
                f"{', '.join(close)}. Received: {word} = {values!r} in {place}",
                "grid",
            )
        checked[name] = _check_values(entries[name], values, f"{place}, {head}", "grid")
    return checked


def _check_values(entry: OptionField, values: Any, place: str, parameter: str) -> list[Any]:
    several = [*values] if isinstance(values, list | tuple) else [values]
    several = [None if entry.facts.none_word == one else to_plain(one) for one in several]
    wrong = [one for one in several if not entry.accepts(one)]
    if wrong or not several:
        received = wrong[0] if wrong else "no value"
        raise ParameterError(
            f"This cannot be used to fit a head. Expected `{entry.name}` to be "
            f"{entry.expect(received)}, or a list of such. Received: {received} in {place}",
            entry.name if parameter == "" else parameter,
        )
    return [float(one) if entry.type is float and one is not None else one for one in several]


def _give(chosen: Grid, given: Mapping[str, Any]) -> Grid:
    """The grid with options that were given in place of its own; each must be of some head."""
    entries = {
        head: {entry.name: entry for entry in list_options(find_head(head).options)}
        for head in chosen
    }
    for name, values in given.items():
        owners = [head for head in chosen if name in entries[head]]
        if not owners:
            known = sorted({name for some in entries.values() for name in some})
            raise ParameterError(
                f"None of the heads {', '.join(chosen)} has an option `{name}`. Expected some of "
                f"{', '.join(known) or 'none'}. Received: {name}={values!r}",
                name,
            )
        for head in owners:
            # Heads may have other ranges of what is called alike: each takes what it can have.
            checked = _check_values(entries[head][name], values, "what was given", "")
            chosen = chosen | {head: [table | {name: checked} for table in chosen[head]]}
    return chosen


def _require_bounded(chosen: Grid) -> None:
    n_settings = sum(
        math.prod(len(values) for values in table.values())
        for tables in chosen.values()
        for table in tables
    )
    if n_settings > MOST_SETTINGS:
        raise ParameterError(
            f"Expected `grid` to have at most {MOST_SETTINGS:,} settings. Received: "
            f"{n_settings:,}, all combinations of its values together\n"
            "Write several tables of one head, [[dense]] and again [[dense]], that need not be "
            "combined.",
            "grid",
        )
