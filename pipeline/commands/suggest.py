"""`cli.py suggest`: which images to label next."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.options import options_of
from pipeline.commands.shared import EXISTING, command, json_option, output_option
from pipeline.heads.few_images.options import SuggestOptions

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal


@command("suggest")
@click.argument("features", type=EXISTING)
@click.argument("n", type=click.IntRange(min=1), default=SuggestOptions.n)
@options_of(SuggestOptions, leave_out=("n",))
@click.option("--data", type=EXISTING, help="Where the images are now, if they were moved.")
@output_option
@json_option
def suggest(terminal: "Terminal", features: Path, n: int, as_json: bool, **how: Any) -> None:
    """Choose N images without a label to label next (30 unless told): a list, and a page for a
    browser on which to label them by clicks. It saves labels.csv, for fit-head --labels.

    \b
    Examples:
      python cli.py suggest cache/photos-efficientnet-lite0-*.h5 30
      python cli.py suggest cache/photos-efficientnet-lite0-*.h5 30 --labels labels.csv
    """
    from pipeline.heads.few_images.suggest import suggest as choose

    with terminal.progress() as on_progress:
        suggestion = choose(features, n, on_progress=on_progress, **how)
    terminal.show_suggestion(suggestion, as_json=as_json)
