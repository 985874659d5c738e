"""`cli.py audit`: what is wrong with the data."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.options import options_of
from pipeline.commands.shared import (
    EXISTING,
    command,
    force_option,
    json_option,
    option,
    output_option,
)
from pipeline.features.options import SplitOptions

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal


@command("audit")
@click.argument("features", type=EXISTING)
@click.option("--data", type=EXISTING, help="Where the images are now, if they were moved.")
@options_of(SplitOptions, only=("group_by", "seed"))
@option("--memory", default="50%", help="For features: 2GB, 500MB, or a share of what is free. "
         "Larger files are read again and again.")  # fmt: skip
@output_option
@force_option
@json_option
def audit(
    terminal: "Terminal",
    features: Path,
    data: Path | None,
    group_by: str | None,
    seed: int,
    memory: str,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Find what is wrong with the data in FEATURES: labels that are likely wrong, equal images,
    images of something else, poor pictures, classes and splits that are not as they should be.

    Writes a folder with audit.csv, audit.json and audit.html: a page on which to decide, that saves
    fix.csv for --labels and --exclude of fit-head and extract.

    \b
    Examples:
      python cli.py audit cache/photos-efficientnet-lite0-*.h5
      python cli.py audit cache/scans-*.h5 --group-by '(patient[0-9]+)'
      python cli.py fit-head cache/photos-*.h5 --labels fix.csv --exclude fix.csv
    """
    from pipeline.report.write_audit import audit as look_for_issues

    with terminal.progress() as on_progress:
        result = look_for_issues(
            features,
            data=data,
            group_by=group_by,
            seed=seed,
            memory=memory,
            output=output,
            force=force,
            on_progress=on_progress,
        )
    terminal.show_audit(result, as_json=as_json)
