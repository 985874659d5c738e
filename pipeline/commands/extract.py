"""`cli.py extract`: stage one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.options import options_of
from pipeline.commands.shared import EXISTING, command
from pipeline.features.options import ExtractOptions

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal


@command("extract")
@click.argument("data", type=EXISTING)
@options_of(ExtractOptions, leave_out=("reuse",))
@click.option("--no-reuse", is_flag=True, help="Take no rows from other files in the folder.")
@click.option("--output", type=EXISTING, help="Feature file.  [default: a name in cache/]")
def extract(
    terminal: "Terminal", data: Path, no_reuse: bool, output: Path | None, **options: Any
) -> None:
    """Stage one: run a frozen backbone over the images in DATA and cache the features.

    DATA holds a folder per class, or train, val and test folders with a folder per class in
    each; or it is a CSV with the columns path, label and perhaps split, or an archive, which is
    unpacked under data/ first. What was extracted before is not computed again.

    \b
    Examples:
      python cli.py extract photos
      python cli.py extract photos --backbone efficientnet-lite0
      python cli.py extract photos --weights my.weights.h5 --image-size 160
      python cli.py extract labels.csv --resize pad --background black
      python cli.py extract pets --label-from '([a-z]+)[.][0-9]'
      python cli.py extract photos --backbone vgg16 --layer fc2 --pooling none
    """
    from pipeline.features.extract import extract as extract_features

    _require_sense(options)
    with terminal.hush(), terminal.progress() as on_progress:
        extraction = extract_features(
            data,
            output=output,
            is_alone=True,
            on_dataset=terminal.show_dataset,
            on_progress=on_progress,
            on_note=terminal.say,
            reuse=not no_reuse,
            **options,
        )
    terminal.show_extraction(extraction.summary)
    terminal.result(str(extraction.path))


def _require_sense(options: dict[str, Any]) -> None:
    """Refuses as wrong usage what makes no sense."""
    from pipeline.commands.terminal.words import say_in_commands
    from pipeline.errors import ParameterError

    try:
        ExtractOptions(**options).check()
    except ParameterError as error:
        flag = say_in_commands(f"`{error.parameter}`")
        raise click.BadParameter(say_in_commands(str(error)), param_hint=flag) from error
