"""The command line's options made from an options dataclass, and those that were given."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from pipeline.system.options import OptionFacts, OptionField, list_options

if TYPE_CHECKING:
    from click.types import OptionHelpExtra


class Value(click.ParamType[Any]):
    """A value in its range, or the word that stands for None: 64, or `auto`."""

    def __init__(self, entry: OptionField):
        self.entry = entry
        is_plain = entry.type in (int, float) and not entry.facts.none_word
        self.name = {int: "integer", float: "float"}[entry.type] if is_plain else "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        none_word = self.entry.facts.none_word
        if value is None or value == none_word:
            return None
        try:
            found = self.entry.type(value)
        except ValueError:
            found = None
        if found is None or not self.entry.accepts(found):
            expected = self.entry.expect(none=none_word)
            self.fail(f"expected {expected}, received {value!r}", param, ctx)
        return found


class Word(click.Choice[str]):
    """One of an option's choices; a former spelling is understood and not shown."""

    def __init__(self, entry: OptionField):
        super().__init__(entry.facts.choices)
        self._entry = entry

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert(self._entry.translate(value), param, ctx)


class FieldOption(click.Option):
    """An option whose help ends with its default, in words if need be, and its range."""

    def __init__(self, *names: Any, default_words: str = "", **settings: Any):
        super().__init__(*names, **settings)
        self._default_words = default_words

    def get_help_extra(self, ctx: click.Context) -> "OptionHelpExtra":
        extra = super().get_help_extra(ctx)
        if self._default_words:
            extra["default"] = self._default_words
        bounds = self.type.entry.draw_range() if isinstance(self.type, Value) else ""
        if bounds:
            extra["range"] = bounds
        return extra


def whole_number(*, least: int) -> Value:
    """The type of an option that no dataclass has: a whole number that is not too small."""
    return Value(OptionField("", int, None, False, OptionFacts("", least=least)))


def options_of(
    options: type, *, only: Collection[str] = (), leave_out: Collection[str] = ()
) -> Callable[..., Any]:
    """Decorates a command's function with an option for each field of an options dataclass.

    Args:
        options: the dataclass, made with `pipeline.system.options.option`.
        only: names of the fields to take; none for all.
        leave_out: names of fields that the command line has no option for.
    """
    entries = [
        entry
        for entry in list_options(options)
        if entry.name not in leave_out and (not only or entry.name in only)
    ]

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for entry in reversed(entries):
            function = click.option(*_names(entry), cls=FieldOption, **_settings(entry))(function)
        return function

    return decorate


def make_option(entry: OptionField) -> click.Option:
    """The option of one field."""
    return FieldOption(_names(entry), **_settings(entry))


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
    if entry.default is True:
        return [f"--no-{flag[2:]}", entry.name]
    return [flag, entry.name]


def _settings(entry: OptionField) -> dict[str, Any]:
    facts = entry.facts
    settings: dict[str, Any] = {"help": facts.help, "default_words": facts.default_words}
    if entry.type is bool:
        if entry.default is True:  # the flag is there to turn it off
            settings["flag_value"] = False
        return {**settings, "default": entry.default, "is_flag": True}
    if facts.choices:
        settings["type"] = Word(entry)
    elif facts.none_word or entry.type in (int, float):
        settings["type"] = Value(entry)
    else:
        settings["type"] = entry.type
    default = facts.none_word if entry.default is None and facts.none_word else entry.default
    return {**settings, "default": default, "show_default": default is not None}
