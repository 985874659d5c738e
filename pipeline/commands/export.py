"""`cli.py export`: a run's model in files for elsewhere, each proven in its own runtime."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.classifier.export.formats.registry import FORMATS
from pipeline.commands.shared import (
    EXISTING,
    command,
    force_option,
    json_option,
    option,
    weights_option,
)

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal


@command("export")
@click.argument("run", type=EXISTING)
@option(
    "--format",
    "formats",
    type=click.Choice(list(FORMATS)),
    multiple=True,
    default=("onnx",),
    help="What to write; may be given several times.",
)
@option(
    "--precision",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    default="float32",
    help="Of the weights and the computation; less takes half the room and is proven less closely.",
)
@click.option(
    "--int8",
    is_flag=True,
    help="Weights and computation in 8 bits, calibrated on training images; openvino and litert.",
)
@click.option(
    "--accept-loss",
    is_flag=True,
    help="Keep 8 bits even where they cost more than one point of accuracy.",
)
@click.option("--data", type=EXISTING, help="Where the run's images are now, if they were moved.")
@weights_option
@option("--output", type=EXISTING, help="The folder to write.", default_words="export in RUN")
@force_option
@json_option
def export(terminal: "Terminal", run: Path, as_json: bool, **how: Any) -> None:
    """Write RUN's model for elsewhere: RGB 0..255 goes in, probabilities come out.

    Resizing apart, all is inside: preprocessing, calibration, names of the classes. Each file is
    run in its own runtime, in a new process, on up to 200 images of the run; one that says
    something else is not left behind. Beside it: a card, labels, thresholds, reference images,
    and check.py, which needs only numpy and the runtime and says whether it is the same elsewhere.

    \b
    Examples:
      python cli.py export photos-efficientnet-lite0-logreg-1 --format onnx
      python cli.py export photos-efficientnet-lite0-logreg-1 --format litert --format openvino
      python cli.py export photos-efficientnet-lite0-logreg-1 --format litert --int8
    """
    from pipeline.classifier.export.export import export as write
    from pipeline.classifier.export.export import require_nothing_refused

    with terminal.progress() as on_progress:
        made = write(run, on_progress=on_progress, on_note=terminal.say, **how)
    terminal.show_export(made, as_json=as_json)
    require_nothing_refused(made)
