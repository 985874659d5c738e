"""`cli.py finetune`: stage three."""

from pathlib import Path

import click

from pipeline.commands.shared import (
    EXISTING,
    class_weight_option,
    command,
    device_option,
    force_option,
    json_option,
    none_as_none,
    option,
    output_option,
    seed_option,
    weights_option,
)
from pipeline.system.quiet_start import no_start_up_talk


@command("finetune")
@click.argument("run", type=EXISTING)
@click.option("--unfreeze", help="Frost line to train from, a number of blocks from the top, or "
              "all.  [default: by the number of images and classes]")  # fmt: skip
@option("--epochs", default=8, type=click.IntRange(min=1), help="At most.")
@option("--learning-rate", default=3e-4, help="The highest, after the warm-up.")
@click.option("--find-learning-rate", is_flag=True, help="Sweep the rate first; take the steepest "
              "safe one.")  # fmt: skip
@option("--layer-decay", default=1.0, help="Each block further down learns and decays by this "
         "factor less.")  # fmt: skip
@option("--batch-size", default=32, type=click.IntRange(min=1), help="Images per step.")
@option("--patience", default=5, help="Stop after so many epochs without a new best.")
@option("--weight-decay", default=1e-2, help="AdamW's.")
@option("--label-smoothing", default=0.1, help="Share of the target spread over all classes.")
@option("--average-weights", default=0.0, help="Momentum of the weights' moving average, "
         "such as 0.98; 0 = none.")  # fmt: skip
@option("--augment", type=click.Choice(["none", "light", "strong"]), default="light",
         help="light: shifts, zooms, turns; strong: RandAugment, MixUp, CutMix.")  # fmt: skip
@click.option("--flip", is_flag=True, help="Mirror images at random. Not for digits or letters.")
@class_weight_option
@option("--precision", type=click.Choice(["float32", "mixed_float16", "mixed_bfloat16"]),
         default="float32", help="Of the computation while training.")  # fmt: skip
@click.option("--trunk-cache/--no-trunk-cache", default=None, help="Keep the frozen trunk's output "
              "on disk.  [default: where it saves time]")  # fmt: skip
@option("--views", default=4, type=click.IntRange(min=1), help="Augmented versions of an image in "
         "the trunk cache.")  # fmt: skip
@option("--strategy", type=click.Choice(["single", "mirrored"]), default="single",
         help="mirrored: all devices of the kind at once.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on after an interruption of the same command.")
@click.option("--tensorboard", type=EXISTING, help="Folder for TensorBoard's logs.")
@click.option("--data", type=EXISTING, help="Where the images are now.")
@weights_option
@seed_option
@device_option
@output_option
@force_option
@json_option
def finetune(terminal, run: Path, data, device, as_json, **options) -> None:
    """Stage three: unfreeze the top blocks of RUN's backbone and train end to end.

    The result is a run of its own and never worse on validation than the head it started from.

    \b
    Examples:
      python cli.py finetune runs/photos-efficientnetb0-logreg-1
      python cli.py finetune runs/photos-efficientnetb0-logreg-1 --unfreeze block5a --flip
      python cli.py finetune runs/photos-efficientnetb0-logreg-1 --resume
    """
    from pipeline.finetuning.options import FinetuneOptions
    from pipeline.runs.run_folder import open_run, require_model

    how = {name: options.pop(name) for name in ("weights", "output", "force", "resume")}
    how["tensorboard"] = options.pop("tensorboard")
    options["class_weight"] = none_as_none(options["class_weight"])
    opened = open_run(run)
    require_model(opened)
    with no_start_up_talk():
        from pipeline.backbones.engines.embedder import choose_device
        from pipeline.finetuning.finetune import finetune as tune
        from pipeline.finetuning.watch import Watch

        chosen = choose_device(device)
    terminal.say(f"Computing on {chosen.description}.")
    with terminal.progress() as on_progress:
        watch = Watch(on_progress, terminal.show_epoch, terminal.say)
        result = tune(
            opened, FinetuneOptions(**options), chosen, data_root=data, watch=watch, **how
        )
    terminal.show_finetuning(result, as_json=as_json)
