"""`cli.py export`: a model for elsewhere, proven."""

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
    help="What to write; several at once.",
)
@option(
    "--precision",
    type=click.Choice(["float32", "float16", "bfloat16"]),
    default="float32",
    help="Of weights and computation.",
)
@click.option("--int8", is_flag=True, help="8 bits, calibrated on training images.")
@click.option("--accept-loss", is_flag=True, help="Of int8, even more than one point of accuracy.")
@click.option("--data", type=EXISTING, help="Where the images are now, if they were moved.")
@weights_option
@option("--output", type=EXISTING, help="The folder.", default_words="export in RUN")
@force_option
@json_option
def export(terminal: "Terminal", run: Path, as_json: bool, **how: Any) -> None:
    """RUN's model for elsewhere: RGB 0..255 in, probabilities out, each file proven in its own
    runtime.

    \b
    Examples:
      python cli.py export photos-efficientnet-lite0-logreg-1 --format onnx
      python cli.py export photos-efficientnet-lite0-logreg-1 --format litert --format openvino
    """
    from pipeline.classifier.export.export import export as write
    from pipeline.classifier.export.export import require_nothing_refused

    with terminal.progress() as on_progress:
        made = write(run, on_progress=on_progress, on_note=terminal.say, **how)
    terminal.show_export(made, as_json=as_json)
    require_nothing_refused(made)
