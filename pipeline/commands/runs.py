"""`cli.py runs`: compare runs."""

from pathlib import Path

import click

from pipeline.commands.shared import EXISTING, command, json_option


@command("runs")
@click.argument("folder", type=EXISTING, default=Path("runs"))
@json_option
def runs(terminal, folder: Path, as_json: bool) -> None:
    """List the runs in FOLDER, the best first.

    \b
    Example:
      python cli.py runs
    """
    from pipeline.runs import list_runs

    terminal.show_runs(list_runs(folder), as_json=as_json)
