"""`cli.py predict`: classify images."""

from pathlib import Path

import click

from pipeline.commands.shared import (
    EXISTING,
    command,
    device_option,
    make_limits,
    max_bytes_option,
    max_pixels_option,
    option,
    weights_option,
)


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
def predict(
    terminal, run: Path, paths: tuple[Path, ...], top, form, max_pixels, max_bytes, weights, device
) -> None:
    """Classify images, or all images in folders, with RUN's model.

    \b
    Examples:
      python cli.py predict runs/photos-efficientnetb0-logreg-1 new.jpg
      python cli.py predict runs/photos-efficientnetb0-logreg-1 inbox --top 3 --format csv
    """
    from pipeline.classifier.model import load_run
    from pipeline.heads.saved_head import require_model
    from pipeline.images.dataset import expand_images
    from pipeline.runs.run_folder import open_run

    opened = open_run(run)
    require_model(opened)  # before a look through many folders
    images, notes = expand_images(paths)
    for note in notes:
        terminal.say(note)
    model = load_run(opened, weights, device, is_alone=True)
    with terminal.progress() as on_progress:
        predictions = model.predict(
            images, limits=make_limits(max_pixels, max_bytes), on_progress=on_progress
        )
    for note in model.notes:
        terminal.say(note)
    terminal.show_predictions(predictions, model.class_names, top, form)
