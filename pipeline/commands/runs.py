"""`cli.py runs`: compare runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.shared import EXISTING, command, json_option

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal


@command("runs")
@click.argument("folder", type=EXISTING, required=False)
@click.option("--all", "show_all", is_flag=True, help="Show more than the best twenty of a kind.")
@json_option
def runs(terminal: "Terminal", folder: Path | None, show_all: bool, as_json: bool) -> None:
    """List the runs in FOLDER, or in runs/, by the images that were scored, the best first.

    \b
    Example:
      python cli.py runs
    """
    from pipeline.runs.listing import list_runs

    entries, problems = list_runs(folder)
    terminal.show_runs(entries, problems, as_json=as_json, show_all=show_all)
