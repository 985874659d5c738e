"""`cli.py probe`: which backbone at which image size, on a sample."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.commands.options import options_of
from pipeline.commands.shared import EXISTING, command, json_option, option
from pipeline.features.options import ExtractOptions, SplitOptions
from pipeline.heads.probe.options import EXTRACT_OPTIONS, SPLIT_OPTIONS, ProbeOptions

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal


def _split(
    ctx: click.Context, parameter: click.Parameter, value: str | None
) -> list[str] | list[int] | None:
    """`a,b` as a list; of image sizes as numbers."""
    if value is None:
        return None
    words = [word.strip() for word in value.split(",")]
    if parameter.name != "image_sizes":
        return words
    try:
        return [int(word) for word in words]
    except ValueError:
        raise click.BadParameter(f"expected numbers such as 160,224; received {value!r}") from None


@command("probe")
@click.argument("data", type=EXISTING)
@options_of(ProbeOptions)
@option("--backbones", callback=_split, metavar="NAME,...", help="Their names; NAME=FILE takes "
         "weights of a file. Weights that are not here are downloaded.",
         default_words="all whose weights are here")  # fmt: skip
@option("--image-sizes", callback=_split, metavar="N,...", help="Pixels.",
         default_words="each backbone's own, and some from 0.7 to 1.4 of it")  # fmt: skip
@options_of(ExtractOptions, only=EXTRACT_OPTIONS)
@options_of(SplitOptions, only=SPLIT_OPTIONS)
@json_option
def probe(terminal: "Terminal", data: Path, as_json: bool, **options: Any) -> None:
    """Try backbones at several image sizes on a sample of the images in DATA, in the time that
    there is, and recommend one of them for extract.

    DATA is what extract takes. What is embedded is kept, and extract does not compute it again.
    Images that the source sets aside for validation or tests are not looked at.

    \b
    Examples:
      python cli.py probe photos
      python cli.py probe photos --seconds 30
      python cli.py probe photos --backbones efficientnet-lite0,resnet50 --image-sizes 160,224,288
      python cli.py probe scans --group-by '(patient[0-9]+)' --test-fraction 0.2
    """
    from pipeline.heads.probe.probe import probe as try_candidates

    with terminal.hush(), terminal.progress() as on_progress:
        found = try_candidates(
            data,
            on_dataset=terminal.show_dataset,
            on_progress=on_progress,
            on_note=terminal.say,
            **options,
        )
    terminal.show_probe(found, as_json=as_json)
