"""The command line's options made from an options dataclass, and those that were given."""

from collections.abc import Callable, Collection
from typing import Any

import click
from click.core import ParameterSource

from pipeline.system.options import OptionField, list_options


class WordOr(click.ParamType[Any]):
    """A word that stands for None, or a value: `auto` or a number."""

    def __init__(self, entry: OptionField):
        self._entry = entry
        self.name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value is None or value == self._entry.facts.none_word:
            return None
        try:
            found = self._entry.type(value)
        except ValueError:
            found = None
        if found is None or not self._entry.accepts(found):
            expected = self._entry.expect(none=self._entry.facts.none_word)
            self.fail(f"expected {expected}, received {value!r}", param, ctx)
        return found


def options_of(options: type, *, leave_out: Collection[str] = ()) -> Callable[..., Any]:
    """Decorates a command's function with an option for each field of an options dataclass.

    Args:
        options: the dataclass, made with `pipeline.system.options.option`.
        leave_out: names of fields that the command line has no option for.
    """
    entries = [entry for entry in list_options(options) if entry.name not in leave_out]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for entry in reversed(entries):
            function = click.option(*_names(entry), **_settings(entry))(function)
        return function

    return decorate


def make_option(entry: OptionField) -> click.Option:
    """The option of one field."""
    return click.Option(_names(entry), **_settings(entry))


def given_options(context: click.Context) -> dict[str, Any]:
    """The values of those parameters that the user gave, by name."""
    return {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }


def _names(entry: OptionField) -> list[str]:
    flag = "--" + (entry.facts.flag or entry.name.replace("_", "-"))
    if entry.type is bool and entry.may_be_none:
        return [f"{flag}/--no-{flag[2:]}", entry.name]
    return [flag, entry.name]


def _settings(entry: OptionField) -> dict[str, Any]:
    facts = entry.facts
    settings: dict[str, Any] = {"help": facts.help}
    if facts.default_words:
        settings["help"] += f"  [default: {facts.default_words}]"
    if entry.type is bool:
        return {**settings, "default": entry.default, "is_flag": True}
    if facts.choices:
        settings["type"] = click.Choice(facts.choices)
    elif facts.none_word:
        settings["type"] = WordOr(entry)
    else:
        settings["type"] = entry.type
    default = facts.none_word if entry.default is None and facts.none_word else entry.default
    return {**settings, "default": default, "show_default": default is not None}
