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
from pipeline.system.quiet_start import no_start_up_talk


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
    from pipeline.images.dataset import scan_dataset
    from pipeline.runs.run_folder import open_run, require_model

    opened = open_run(run)
    require_model(opened)
    dataset = scan_dataset(data, class_depth).of_split(split)
    with no_start_up_talk():
        from pipeline.backbones.engines.device import choose_device, use_one_thread_per_operation
        from pipeline.classifier.predict import evaluate_run

        use_one_thread_per_operation()
        chosen = choose_device(device)
    with terminal.progress() as on_progress:
        evaluation = evaluate_run(
            opened,
            dataset,
            chosen,
            weights=weights,
            limits=make_limits(max_pixels, max_bytes),
            on_progress=on_progress,
        )
    terminal.show_evaluation(evaluation, as_json=as_json)
