"""`cli.py fit-head`: stage two."""

from pathlib import Path

import click
from click.core import ParameterSource

from pipeline.commands.shared import (
    EXISTING,
    class_weight_option,
    command,
    force_option,
    json_option,
    none_as_none,
    option,
    output_option,
    seed_option,
)
from pipeline.system.quiet_start import no_start_up_talk

# An option of one head is refused with the other, or its user would believe that it did something.
_HEAD_OF = {
    "C": "logreg",
    "hidden_units": "dense",
    "dropout": "dense",
    "learning_rate": "dense",
    "epochs": "dense",
}


@command("fit-head")
@click.argument("features", type=EXISTING, nargs=-1, required=True)
@option("--head", type=click.Choice(["logreg", "dense"]), default="logreg", help="Kind of head.")
@option("--C", "C", default="auto", help="Inverse regularisation of logreg: a number, or auto.")
@option("--hidden", "hidden_units", default=0, help="Width of dense's hidden layer, 0 = none.")
@option("--dropout", default=0.5, help="Of the dense head.")
@option("--learning-rate", default=3e-4, help="Of the dense head.")
@option("--epochs", default=200, help="Of the dense head, at most.")
@class_weight_option
@option("--memory", default="50%", help="For features: 2GB, 500MB, or a share of what is free. "
         "Larger files are read again and again.")  # fmt: skip
@option("--val-fraction", default=0.2, help="Share for validation, where DATA gives none.")
@option("--test-fraction", default=0.0, help="Share for a test split, where DATA gives none.")
@click.option("--group-by", help="Regular expression: images in whose paths it finds the same "
              "text share a split.")  # fmt: skip
@seed_option
@output_option
@force_option
@json_option
def fit_head(terminal, features: tuple[Path, ...], memory, output, force, as_json, **options):
    """Stage two: train a head on cached features, in seconds. Writes a run per file.

    \b
    Examples:
      python cli.py fit-head cache/photos-efficientnetb0-*.h5
      python cli.py fit-head cache/photos-*.h5 --head dense --hidden 256 --class-weight balanced
      python cli.py fit-head cache/scans-*.h5 --group-by '(patient[0-9]+)'
    """
    from pipeline.heads.fit_head import FitOptions
    from pipeline.heads.fit_head import fit_head as fit

    _refuse_options_of_other_heads(options["head"])
    settings = FitOptions(
        **{
            **options,
            "C": _parse_c(options["C"]),
            "class_weight": none_as_none(options["class_weight"]),
        }
    )
    settings.check()  # before the slow start of TensorFlow
    n_bytes = _parse_memory(memory)
    if settings.head == "dense":
        with no_start_up_talk():
            import pipeline.heads.dense  # noqa: F401 - TensorFlow's start, out of sight
    for path in features:
        with terminal.progress() as on_progress:
            result = fit(
                path, settings, memory=n_bytes, output=output, force=force, on_progress=on_progress
            )
        terminal.show_fit(result, as_json=as_json)


def _refuse_options_of_other_heads(head: str) -> None:
    """Raises a UsageError for an option that was given and that this head does not have."""
    context = click.get_current_context()
    for parameter in context.command.params:
        belongs_to = _HEAD_OF.get(parameter.name, head)
        source = context.get_parameter_source(parameter.name)
        if belongs_to != head and source is not ParameterSource.DEFAULT:
            option = parameter.opts[0]
            raise click.UsageError(
                f"{option} is an option of the {belongs_to} head. Expected --head {belongs_to} "
                f"with it. Received: --head {head} {option} {context.params[parameter.name]}\n"
                f"Leave {option} out, or say --head {belongs_to}."
            )


def _parse_memory(text: str) -> int:
    from pipeline.system.memory import parse_memory

    try:
        return parse_memory(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--memory") from error


def _parse_c(text: str) -> float | None:
    if text == "auto":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise click.BadParameter(f"expected auto or a number above 0, received {text!r}")
    return value
