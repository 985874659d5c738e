"""`cli.py serve`: answer over HTTP."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.classifier.serving.options import ServeOptions
from pipeline.commands.options import options_of
from pipeline.commands.shared import (
    EXISTING,
    command,
    device_option,
    engine_option,
    limits_options,
    network_store_option,
    weights_option,
)

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal


@command("serve")
@click.argument("run", type=EXISTING)
@options_of(ServeOptions)
@limits_options
@weights_option
@device_option
@engine_option
@network_store_option
def serve(terminal: "Terminal", run: Path, **how: Any) -> None:
    """Answer over HTTP what RUN's model says of images, until Ctrl-C.

    A page for people at /, for programs POST /predict with files of a form or the bytes of an
    image, which answers as `predict --json` does. /docs has examples, /health and /metrics are for
    those who watch it. A run that is replaced (`fit-head --output RUN --force`) is taken up by
    itself. Takes packages of its own: pip install '.[serve]'.

    \b
    Examples:
      python cli.py serve runs/photos-efficientnet-lite0-logreg-1
      python cli.py serve photos-efficientnet-lite0-logreg-1 --port 0 --quiet
      curl -F file=@new.jpg 'http://127.0.0.1:8000/predict?top=3'
    """
    from pipeline.classifier.serving.serve import serve as answer

    answer(run, is_alone=True, on_note=terminal.say, on_request=terminal.log, **how)
