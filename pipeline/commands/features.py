"""`cli.py features`: what is in feature files."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.options import given_options, whole_number
from pipeline.commands.shared import (
    EXISTING,
    command,
    device_option,
    json_option,
    option,
    weights_option,
)

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal


@command("features")
@click.argument("path", type=EXISTING, required=False)
@click.option("--verify", is_flag=True, help="Check every byte of the file.")
@option("--recompute", type=whole_number(least=1), help="Embed N random rows again.")
@click.option("--data", type=EXISTING, help="Where the images are now, for --recompute.")
@weights_option
@device_option
@json_option
def features(
    terminal: "Terminal",
    path: Path | None,
    verify: bool,
    recompute: int | None,
    data: Path | None,
    weights: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Show what is in a feature file; without PATH, list those in cache/.

    \b
    Examples:
      python cli.py features
      python cli.py features cache/photos-efficientnetb0-1a2b3c4d.h5 --verify --recompute 20
    """
    from pipeline.features.extract import CACHE_FOLDER
    from pipeline.features.feature_file import FeatureFile, find_feature_files
    from pipeline.features.verify import recompute as recompute_rows
    from pipeline.system.sealed_hdf5 import verify_seal

    _require_what_it_is_for(path, recompute)
    if path is None:
        terminal.show_feature_files(*find_feature_files(CACHE_FOLDER), as_json=as_json)
        return
    if verify:
        verify_seal(path)
        terminal.say("Every byte is as it was written.")
    recomputed = None
    if recompute:
        recomputed = recompute_rows(
            path, recompute, weights=weights, data_root=data, device=device,
            is_alone=True, on_note=terminal.say,
        )  # fmt: skip
    with FeatureFile(path) as file:
        terminal.show_features(file, recomputed, as_json=as_json)


def _require_what_it_is_for(path: Path | None, recompute: int | None) -> None:
    """Refuses an option that would do nothing, or its user would believe that it did something."""
    given = given_options(click.get_current_context())
    needs = {"verify": path, "recompute": path, "data": recompute, "weights": recompute}
    for name, needed in {**needs, "device": recompute}.items():
        if name in given and needed is None:
            what = (
                "the PATH of a feature file" if name in ("verify", "recompute") else "--recompute"
            )
            raise click.UsageError(f"--{name} needs {what}. Received: none")
