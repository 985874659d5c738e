"""`cli.py fit-head`: stage two."""

from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.options import given_options, make_option, options_of, whole_number
from pipeline.commands.shared import (
    EXISTING,
    Command,
    command,
    expand_patterns,
    force_option,
    json_option,
    option,
    output_option,
)
from pipeline.features.options import SplitOptions
from pipeline.features.question import QuestionOptions
from pipeline.heads.options import FoldOptions, ViewOptions
from pipeline.runs.promise.options import PromiseOptions
from pipeline.system.options import OptionField, list_options

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal


class FitHeadCommand(Command):
    """Has the options of all heads in the registry, whichever there are when it is called."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own parameters, with those of the heads behind FEATURES."""
        own = super().get_params(ctx)
        place = 1 + [isinstance(parameter, click.Argument) for parameter in own].index(True)
        return [*own[:place], *_head_options(), *own[place:]]


def _head_options() -> list[click.Option]:
    """`--head`, and each head's options; what several heads have is there once."""
    from pipeline.heads.registry import HEADS

    head = click.Option(
        ["--head"],
        type=click.Choice(list(HEADS)),
        default="logreg",
        show_default=True,
        help="Kind of head.",
    )
    entries: dict[str, dict[str, OptionField]] = {}
    for kind in HEADS.values():
        for entry in list_options(kind.options):
            entries.setdefault(entry.name, {})[kind.name] = entry
    return [head, *(make_option(_merge(by_head)) for by_head in entries.values())]


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


@command("fit-head", cls=FitHeadCommand)
@click.argument("features", type=EXISTING, nargs=-1, required=True, callback=expand_patterns)
@click.option("--join", is_flag=True, help="Put the features of several files side by side, of the "
              "images that all have: one head on several backbones or image sizes.")  # fmt: skip
@option("--memory", default="50%", help="For features: 2GB, 500MB, or a share of what is free. "
         "Larger files are read again and again.")  # fmt: skip
@options_of(QuestionOptions)
@options_of(SplitOptions)
@options_of(FoldOptions)
@options_of(PromiseOptions)
@options_of(ViewOptions)
@option("--shots", help="Only tell how accuracy grows with the images of each class: 1,2,4,8,16. "
        "Writes a curve, and no run.")  # fmt: skip
@option("--seeds", type=whole_number(least=1), default=5, help="Draws of each of --shots.")
@output_option
@force_option
@json_option
def fit_head(
    terminal: "Terminal",
    features: tuple[Path, ...],
    join: bool,
    head: str,
    memory: str,
    shots: str | None,
    seeds: int,
    output: Path | None,
    force: bool,
    as_json: bool,
    **_: Any,
) -> None:
    """Stage two: train a head on cached features, in seconds. Writes a run.

    \b
    Examples:
      python cli.py fit-head cache/photos-efficientnet-lite0-*.h5
      python cli.py fit-head cache/photos-*.h5 --head dense --hidden 256 --class-weight balanced
      python cli.py fit-head cache/scans-*.h5 --group-by '(patient[0-9]+)'
      python cli.py fit-head cache/photos-*.h5 --promise 0.98
      python cli.py fit-head cache/photos-*.h5 --shots 1,2,4,8,16
      python cli.py fit-head cache/photos-*-views.h5 --tta
      python cli.py fit-head cache/photos-*.h5 --merge cats+dogs=pets --classes pets,horses
      python cli.py fit-head photos-224.h5 photos-288.h5 --join
    """
    from pipeline.heads.fit_head import check_fit_options
    from pipeline.heads.fit_head import fit_head as fit
    from pipeline.heads.registry import find_head

    options = _options_of_head(head)
    if shots is not None:
        _show_shots(terminal, features, join, head, shots, seeds, output, options, as_json=as_json)
        return
    check_fit_options(head, options)  # before the slow start of TensorFlow
    n_bytes = _parse_memory(memory)
    find_head(head).import_fit()  # TensorFlow's start, out of sight
    with terminal.progress() as on_progress:
        result = fit(
            features,
            join=join,
            head=head,
            memory=n_bytes,
            output=output,
            force=force,
            on_progress=on_progress,
            **options,
        )
    terminal.show_fit(result, as_json=as_json)


def _options_of_head(head: str) -> dict[str, Any]:
    """The options that were given; the defaults of all others are the dataclasses' own.

    An option that this head does not have is refused, or its user would believe that it did
    something.
    """
    from pipeline.heads.fit_head import SHARED_OPTIONS
    from pipeline.heads.registry import HEADS

    context = click.get_current_context()
    given = given_options(context)
    flags = {parameter.name: parameter.opts[0] for parameter in context.command.get_params(context)}
    names = {kind.name: {entry.name for entry in fields(kind.options)} for kind in HEADS.values()}
    for name, value in given.items():
        owners = [kind for kind in names if name in names[kind]]
        if owners and head not in owners:
            flag, others = flags[name], " or ".join(owners)
            raise click.UsageError(
                f"{flag} is an option of the {others} head. Expected --head {others} "
                f"with it. Received: --head {head} {flag} {value}\n"
                f"Leave {flag} out, or say --head {others}."
            )
    shared = {entry.name for kind in SHARED_OPTIONS for entry in fields(kind)}
    return {name: value for name, value in given.items() if name in names[head] | shared}


def _show_shots(
    terminal: "Terminal",
    features: tuple[Path, ...],
    join: bool,
    head: str,
    shots: str,
    seeds: int,
    output: Path | None,
    options: dict[str, Any],
    *,
    as_json: bool,
) -> None:
    from pipeline.heads.few_images.shots import fit_shots, parse_shots

    with terminal.progress() as on_progress:
        found = fit_shots(
            features,
            parse_shots(shots),
            join=join,
            seeds=seeds,
            head=head,
            output=output,
            on_progress=on_progress,
            **options,
        )
    terminal.show_shots(found, as_json=as_json)


def _parse_memory(text: str) -> int:
    from pipeline.system.memory import parse_memory

    try:
        return parse_memory(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--memory") from error
