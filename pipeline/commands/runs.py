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
@click.option(
    "--compare",
    type=EXISTING,
    nargs=2,
    metavar="A B",
    help="Which of two runs is better on the images that trained neither, and can it be chance?",
)
@json_option
def runs(
    terminal: "Terminal",
    folder: Path | None,
    show_all: bool,
    compare: tuple[Path, Path] | None,
    as_json: bool,
) -> None:
    """List the runs in FOLDER, or in runs/, by the images that were scored, the best first.

    \b
    Examples:
      python cli.py runs
      python cli.py runs --compare photos-efficientnet-lite0-logreg-1 photos-resnet50-logreg-1
    """
    if compare is not None:
        if folder is not None or show_all:
            raise click.UsageError("Expected --compare without FOLDER and without --all.")
        from pipeline.runs.compare import compare_runs

        terminal.show_comparison(compare_runs(*compare), as_json=as_json)
        return
    from pipeline.runs.listing import list_runs

    entries, problems = list_runs(folder)
    terminal.show_runs(entries, problems, as_json=as_json, show_all=show_all, folder=folder)
