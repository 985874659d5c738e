"""`cli.py extract`: stage one."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.options import options_of
from pipeline.commands.shared import EXISTING, command, json_option, option
from pipeline.features.options import ExtractOptions

if TYPE_CHECKING:
    from pipeline.commands.terminal.data_output import DataOutput


@command("extract", shown_by="pipeline.commands.terminal.data_output:DataOutput")
@click.argument("data", type=EXISTING)
@options_of(ExtractOptions)
@option("--output", type=EXISTING, help="Feature file.", default_words="a name in cache/")
@json_option
def extract(
    terminal: "DataOutput", data: Path, output: Path | None, as_json: bool, **options: Any
) -> None:
    """Stage one: run a frozen backbone over the images in DATA and cache the features.

    DATA holds a folder per class, or train, val and test folders with a folder per class in
    each; or it is a CSV with the columns path, label and perhaps split, or an archive, which is
    unpacked under data/ first. What was extracted before is not computed again.

    \b
    Examples:
      python cli.py extract photos --backbone efficientnet-lite0    (needs no network)
      python cli.py extract photos
      python cli.py extract photos --weights my.weights.h5 --image-size 160
      python cli.py extract labels.csv --resize pad --background black
      python cli.py extract photos --views 4 --augment light
      python cli.py extract pets --label-from '([a-z]+)[.][0-9]'
      python cli.py extract photos --backbone vgg16 --layer fc2 --pooling none
      python cli.py extract photos --backbone run:photos-efficientnetb0-logreg-1-finetuned-1
    """
    from pipeline.features.extract import extract as extract_features

    with terminal.hush(), terminal.progress() as on_progress:
        extraction = extract_features(
            data,
            output=output,
            is_alone=True,
            on_dataset=terminal.show_dataset,
            on_progress=on_progress,
            on_note=terminal.say,
            **options,
        )
    terminal.show_extraction(extraction.summary, as_json=as_json)
