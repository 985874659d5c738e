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
from pipeline.system.quiet_start import no_start_up_talk


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
    from pipeline.images.dataset import expand_images
    from pipeline.runs.run_folder import open_run, require_model

    opened = open_run(run)
    require_model(opened)
    images, notes = expand_images(paths)
    for note in notes:
        terminal.say(note)
    with no_start_up_talk():
        from pipeline.backbones.engines.device import choose_device, use_one_thread_per_operation
        from pipeline.classifier.predict import classify_images

        use_one_thread_per_operation()
        chosen = choose_device(device)
    with terminal.progress() as on_progress:
        predictions = list(
            classify_images(
                opened,
                images,
                chosen,
                weights=weights,
                limits=make_limits(max_pixels, max_bytes),
                on_progress=on_progress,
            )
        )
    terminal.show_predictions(predictions, opened.class_names, top, form)
