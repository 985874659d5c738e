"""`cli.py evaluate`: score a run on labelled images."""

from pathlib import Path

import click

from pipeline.commands.shared import (
    EXISTING,
    class_depth_option,
    command,
    device_option,
    json_option,
    make_limits,
    max_bytes_option,
    max_pixels_option,
    weights_option,
)


@command("evaluate")
@click.argument("run", type=EXISTING)
@click.argument("data", type=EXISTING)
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Only this split of "
              "DATA.")  # fmt: skip
@class_depth_option
@max_pixels_option
@max_bytes_option
@weights_option
@device_option
@json_option
def evaluate(
    terminal,
    run: Path,
    data: Path,
    split,
    class_depth,
    max_pixels,
    max_bytes,
    weights,
    device,
    as_json,
) -> None:
    """Score RUN on the labelled images in DATA.

    \b
    Example:
      python cli.py evaluate runs/photos-efficientnetb0-logreg-1 new-photos
    """
    from pipeline.classifier.evaluate import evaluate as score
    from pipeline.classifier.evaluate import label_as_run
    from pipeline.classifier.model import load_run
    from pipeline.heads.saved_head import require_model
    from pipeline.images.dataset import scan_dataset
    from pipeline.runs.run_folder import open_run

    opened = open_run(run)
    require_model(opened)
    dataset = scan_dataset(data, class_depth).of_split(split)
    label_as_run(opened.class_names, dataset)  # before the slow start of TensorFlow
    model = load_run(opened, weights, device, is_alone=True)
    with terminal.progress() as on_progress:
        evaluation = score(
            model, dataset, limits=make_limits(max_pixels, max_bytes), on_progress=on_progress
        )
    for note in model.notes:
        terminal.say(note)
    terminal.show_evaluation(evaluation, as_json=as_json)
