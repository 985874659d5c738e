"""The options of all heads in the registry as `fit-head` has them: one value, or several to try."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click

from pipeline.commands.options import Value, given_options, make_option
from pipeline.commands.shared import Command
from pipeline.system.options import OptionField, list_options


class FitHeadCommand(Command):
    """Has the options of all heads in the registry, whichever there are when it is called."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own parameters, with those of the heads behind FEATURES."""
        own = super().get_params(ctx)
        place = 1 + [isinstance(parameter, click.Argument) for parameter in own].index(True)
        return [*own[:place], *_head_options(), *own[place:]]


class Values(Value):
    """A value, or several with commas between them, as a tuple: each is tried."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str) or "," not in value or self._is_file(value):
            return super().convert(value, param, ctx)
        convert = super().convert
        return tuple(convert(part.strip(), param, ctx) for part in value.split(","))

    def _is_file(self, value: str) -> bool:
        return self.entry.type is str and Path(value).is_file()


class Heads(click.Choice[str]):
    """Names of heads with commas between them, as a tuple."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        convert = super().convert
        return tuple(convert(part.strip(), param, ctx) for part in str(value).split(","))


class GridFile(click.Path):
    """The grid of `--sweep`, which need not be there: the word behind it may be another's."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value and Path(value).suffix.lower() != ".toml":
            self.fail(
                f"expected the name of a TOML file, received {value!r}\n"
                "For the usual settings write --sweep behind FEATURES, with no word after it.",
                param,
                ctx,
            )
        return super().convert(value, param, ctx) if value else ""


def _head_options() -> list[click.Option]:
    """`--head`, and each head's options; what several heads have is there once."""
    from pipeline.heads.registry import HEADS

    head = click.Option(
        ["--head"],
        type=Heads(list(HEADS)),
        default="logreg",
        show_default=True,
        help="Kind of head; several with commas between them are a sweep.",
    )
    entries: dict[str, dict[str, OptionField]] = {}
    for kind in HEADS.values():
        for entry in list_options(kind.options):
            entries.setdefault(entry.name, {})[kind.name] = entry
    return [head, *(_make_option(_merge(by_head)) for by_head in entries.values())]


def _make_option(entry: OptionField) -> click.Option:
    made = make_option(entry)
    if isinstance(made.type, Value):
        made.type = Values(entry)
    return made


def _merge(by_head: dict[str, OptionField]) -> OptionField:
    """One option for several heads; where their defaults differ, its help tells them.

    Where their ranges differ it has none: the head that is fitted checks its own.
    """
    first, *others = by_head.values()
    facts = first.facts
    if any(entry.draw_range() != first.draw_range() for entry in others):
        facts = replace(facts, least=None, most=None, above=None, below=None)
    if all(entry.default == first.default for entry in others):
        return replace(first, facts=facts)
    defaults = ", ".join(f"{entry.default} of {name}" for name, entry in by_head.items())
    facts = replace(facts, default_words=defaults, none_word="")
    return replace(first, default=None, facts=facts)


def options_of_heads(heads: tuple[str, ...] | None) -> dict[str, Any]:
    """The options that were given; the defaults of all others are the dataclasses' own.

    An option that none of these heads has is refused, or its user would believe that it did
    something.

    Args:
        heads: that are fitted; None = those of a grid, which is asked later.
    """
    from pipeline.heads.fit_options import SHARED_OPTIONS
    from pipeline.heads.registry import HEADS

    context = click.get_current_context()
    given = given_options(context)
    flags = {parameter.name: parameter.opts[0] for parameter in context.command.get_params(context)}
    names = {kind.name: {entry.name for entry in fields(kind.options)} for kind in HEADS.values()}
    for name, value in given.items() if heads is not None else ():
        owners = [kind for kind in names if name in names[kind]]
        if owners and not set(owners) & set(heads or ()):
            flag, others, head = flags[name], " or ".join(owners), ",".join(heads or ())
            raise click.UsageError(
                f"{flag} is an option of the {others} head. Expected --head {others} "
                f"with it. Received: --head {head} {flag} {value}\n"
                f"Leave {flag} out, or say --head {others}."
            )
    known = {entry.name for kind in SHARED_OPTIONS for entry in fields(kind)}
    known |= {name for kind in heads or names for name in names[kind]}
    return {name: value for name, value in given.items() if name in known}


def find_sweep(
    head: tuple[str, ...], grid: str | None, options: dict[str, Any]
) -> dict[str, Any] | None:
    """What `sweep_heads` is to try; None where one head is to be fitted.

    Args:
        head: names that were given, or the default.
        grid: None without `--sweep`, empty with it alone.
        options: as given, a tuple where there were commas.
    """
    is_given = "head" in given_options(click.get_current_context())
    if grid is not None:
        return {"grid": grid or None, "heads": head if is_given else None}
    if len(head) > 1 or any(isinstance(value, tuple) for value in options.values()):
        return {"grid": {name: {} for name in head}}
    return None
