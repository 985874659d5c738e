"""`cli.py evaluate`: score a run on labelled images."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.shared import (
    EXISTING,
    class_depth_option,
    command,
    device_option,
    engine_option,
    force_option,
    json_option,
    label_from_option,
    limits_options,
    network_store_option,
    option,
    weights_option,
)

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal


@command("evaluate")
@click.argument("run", type=EXISTING)
@click.argument("data", type=EXISTING)
@click.option("--split", type=click.Choice(["train", "val", "test"]), help="Only this split of "
              "DATA.")  # fmt: skip
@class_depth_option
@label_from_option
@limits_options
@weights_option
@device_option
@engine_option
@network_store_option
@click.option(
    "--no-cache",
    "use_cache",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Embed images anew whose features a feature file has.",
)
@option(
    "--output",
    type=EXISTING,
    help="A folder for the scores, all predictions, the confusion matrix and a report.",
    default_words="nothing is written",
)
@force_option
@json_option
def evaluate(terminal: "Terminal", run: Path, data: Path, as_json: bool, **how: Any) -> None:
    """Score RUN on the labelled images in DATA, a folder or a CSV as `extract` takes it.

    \b
    Examples:
      python cli.py evaluate runs/photos-efficientnet-lite0-logreg-1 new-photos
      python cli.py evaluate photos-efficientnet-lite0-logreg-1 new-photos --output runs/new-photos
    """
    from pipeline.classifier.evaluation.evaluate import evaluate as score

    with terminal.progress() as on_progress:
        evaluation = score(
            run, data, is_alone=True, on_progress=on_progress, on_note=terminal.say, **how
        )
    terminal.show_evaluation(evaluation, data, as_json=as_json)
    if evaluation.folder is not None:
        terminal.say(f"Report: {evaluation.folder / 'report.html'}")
