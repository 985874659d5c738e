"""`cli.py predict`: classify images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.image_paths import IMAGES, STDIN, expand_images, name_stdin, read_stdin
from pipeline.commands.options import whole_number
from pipeline.commands.shared import (
    EXISTING,
    command,
    device_option,
    engine_option,
    force_option,
    json_option,
    limits_options,
    network_store_option,
    option,
    weights_option,
)

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal


@command("predict")
@click.argument("run", type=EXISTING)
@click.argument("paths", type=IMAGES, nargs=-1, required=True, callback=expand_images)
@option("--top", default=1, type=whole_number(least=1), help="So many classes per image.")
@option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    help="How to print.",
    default_words="table",
)
@json_option
@limits_options
@weights_option
@device_option
@engine_option
@network_store_option
@option(
    "--output",
    type=EXISTING,
    help="A folder for a contact sheet: a page of thumbnails by class, and a table.",
    default_words="nothing is written",
)
@force_option
def predict(
    terminal: "Terminal",
    run: Path,
    paths: tuple[Path | str, ...],
    top: int,
    form: str | None,
    as_json: bool,
    output: Path | None,
    **how: Any,
) -> None:
    """Classify images, or all images in folders, with RUN's model.

    RUN is a run's folder, or its name in runs/. PATHS may be a list of images, too, a CSV as
    `extract` takes it; - among them stands for the image file that stdin holds. The answer is
    always one of the run's classes, whatever an image shows, unless the run was fitted with
    `fit-head --promise`. The exit code is 1 where not one image can be used.
    A run that was fitted with --promise answers where the promise covers it; else it says "unsure"
    or "unlike anything seen".

    \b
    Examples:
      python cli.py predict runs/photos-efficientnet-lite0-logreg-1 new.jpg
      python cli.py predict runs/photos-efficientnet-lite0-logreg-1 inbox --top 3 --format csv
      python cli.py predict photos-efficientnet-lite0-logreg-1 inbox --json
      cat new.jpg | python cli.py predict photos-efficientnet-lite0-logreg-1 - --json
      python cli.py predict photos-efficientnet-lite0-logreg-1 inbox --output inbox-sorted
    """
    if as_json and form not in (None, "json"):
        raise click.UsageError(f"Expected one of --json and --format {form}. Received: both")
    if output is not None and STDIN in paths:
        raise click.UsageError("A contact sheet leads to files. Expected --output without -")
    from pipeline.classifier.predict import predict as classify
    from pipeline.classifier.predict import require_some_usable
    from pipeline.runs.run_folder import open_run

    opened = open_run(run)
    images = [read_stdin(how["max_bytes"]) if path == STDIN else path for path in paths]
    with terminal.progress() as on_progress:
        predictions = classify(
            opened,
            images,
            output=output,
            is_alone=True,
            on_progress=on_progress,
            on_note=terminal.say,
            **how,
        )
    predictions = [name_stdin(prediction) for prediction in predictions]
    form = "json" if as_json else form or "table"
    promises = opened.manifest.promise is not None
    terminal.show_predictions(predictions, opened.class_names, top, form, promises=promises)
    if output is not None:
        terminal.say(f"Contact sheet: {output / 'contact-sheet.html'}")
    require_some_usable(predictions)
