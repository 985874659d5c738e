"""`cli.py finetune`: stage three."""

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
    output_option,
    weights_option,
)
from pipeline.finetuning.options import FinetuneOptions
from pipeline.system.quiet_start import no_start_up_talk

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal


@command("finetune")
@click.argument("run", type=EXISTING)
@options_of(FinetuneOptions, leave_out=("warmup",))
@click.option("--resume", is_flag=True, help="Go on after an interruption of the same command.")
@click.option("--tensorboard", type=EXISTING, help="Folder for TensorBoard's logs.")
@click.option("--data", type=EXISTING, help="Where the images are now.")
@weights_option
@device_option
@output_option
@force_option
@json_option
def finetune(
    terminal: "Terminal", run: Path, data: Path | None, device: str, as_json: bool, **options: Any
) -> None:
    """Stage three: unfreeze the top blocks of RUN's backbone and train end to end.

    The result is a run of its own and never worse on validation than the head it started from.

    \b
    Examples:
      python cli.py finetune runs/photos-efficientnetb0-logreg-1
      python cli.py finetune runs/photos-efficientnetb0-logreg-1 --unfreeze block5a --flip
      python cli.py finetune runs/photos-efficientnetb0-logreg-1 --resume
    """
    from pipeline.heads.saved_head import require_model
    from pipeline.runs.run_folder import open_run

    how = {name: options.pop(name) for name in ("weights", "output", "force", "resume")}
    how["tensorboard"] = options.pop("tensorboard")
    opened = open_run(run)
    require_model(opened)
    with no_start_up_talk():
        from pipeline.backbones.engines.device import choose_device
        from pipeline.finetuning.finetune import finetune as tune
        from pipeline.finetuning.watch import Watch

        chosen = choose_device(device)
    terminal.say(f"Computing on {chosen.description}.")
    with terminal.progress() as on_progress:
        watch = Watch(on_progress, terminal.show_epoch, terminal.say)
        result = tune(opened, FinetuneOptions(**options), chosen, data=data, watch=watch, **how)
    terminal.show_finetuning(result, as_json=as_json)
