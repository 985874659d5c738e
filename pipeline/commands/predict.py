"""`cli.py predict`: classify images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.shared import (
    EXISTING,
    command,
    device_option,
    engine_option,
    max_bytes_option,
    max_pixels_option,
    network_store_option,
    option,
    weights_option,
)

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal


@command("predict")
@click.argument("run", type=EXISTING)
@click.argument("paths", type=EXISTING, nargs=-1, required=True)
@option("--top", default=1, type=click.IntRange(min=1), help="So many classes per image.")
@option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table",
         help="How to print.")  # fmt: skip
@max_pixels_option
@max_bytes_option
@weights_option
@device_option
@engine_option
@network_store_option
def predict(
    terminal: "Terminal", run: Path, paths: tuple[Path, ...], top: int, form: str, **how: Any
) -> None:
    """Classify images, or all images in folders, with RUN's model.

    \b
    Examples:
      python cli.py predict runs/photos-efficientnetb0-logreg-1 new.jpg
      python cli.py predict runs/photos-efficientnetb0-logreg-1 inbox --top 3 --format csv
    """
    from pipeline.classifier.predict import predict as classify
    from pipeline.runs.run_folder import open_run

    opened = open_run(run)
    with terminal.progress() as on_progress:
        predictions = classify(
            opened, paths, is_alone=True, on_progress=on_progress, on_note=terminal.say, **how
        )
    terminal.show_predictions(predictions, opened.class_names, top, form)
