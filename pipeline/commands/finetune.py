"""`cli.py finetune`: stage three."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.options import options_of
from pipeline.commands.shared import (
    EXISTING,
    command,
    device_option,
    force_option,
    json_option,
    mlflow_option,
    output_option,
    showing_what_was_written,
    weights_option,
)
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.search.options import SearchOptions

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal


@command("finetune")
@click.argument("run", type=EXISTING)
@options_of(FinetuneOptions, leave_out=("warmup",))
@options_of(SearchOptions)
@click.option("--resume", is_flag=True, help="Go on after an interruption of the same command.")
@click.option("--tensorboard", type=EXISTING, help="Folder for TensorBoard's logs.")
@mlflow_option
@click.option("--data", type=EXISTING, help="Where the images are now.")
@weights_option
@device_option
@output_option
@force_option
@json_option
def finetune(terminal: "Terminal", run: Path, as_json: bool, **options: Any) -> None:
    """Stage three: unfreeze the top blocks of RUN's backbone and train end to end.

    The result is a run of its own and never worse on validation than the head it started from.

    \b
    Examples:
      python cli.py finetune runs/photos-efficientnet-lite0-logreg-1
      python cli.py finetune runs/photos-efficientnet-lite0-logreg-1 --unfreeze block5a --flip
      python cli.py finetune runs/photos-efficientnet-lite0-logreg-1 --budget 10m
      python cli.py finetune runs/photos-efficientnet-lite0-logreg-1 --resume
    """
    from pipeline.finetuning.finetune import finetune as tune

    show = partial(terminal.show_finetuning, as_json=as_json)
    with showing_what_was_written(show), terminal.progress() as on_progress:
        result = tune(
            run,
            on_progress=on_progress,
            on_epoch=terminal.show_epoch,
            on_note=terminal.say,
            **options,
        )
    show(result)
