"""`cli.py report`: a page about runs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.shared import (
    EXISTING,
    command,
    expand_patterns,
    force_option,
    json_option,
    option,
)

if TYPE_CHECKING:
    from pipeline.commands.terminal.terminal import Terminal


@command("report")
@click.argument("runs", type=EXISTING, nargs=-1, required=True, callback=expand_patterns)
@option("--output", type=EXISTING, metavar="FILE.html", help="Where to write.",
        default_words="report.html in RUN, of several in a new runs/report-NUMBER")  # fmt: skip
@force_option
@click.option("--data", type=EXISTING, help="Where the images are now, if they were moved.")
@json_option
def report(
    terminal: "Terminal",
    runs: tuple[Path, ...],
    output: Path | None,
    force: bool,
    data: Path | None,
    as_json: bool,
) -> None:
    """A page for a browser about RUNS, one or several side by side: how good, wrong where, and why.
    One file, which needs nothing else and can be sent.

    \b
    Examples:
      python cli.py report photos-efficientnet-lite0-logreg-1
      python cli.py report runs/photos-* --output photos.html
    """
    from pipeline.commands.terminal.words import say_in_commands, spell_step
    from pipeline.report.gathering.steps import Wording
    from pipeline.report.report import report as write

    wording = Wording(say_in_commands, spell_step)
    with terminal.progress() as on_progress:
        made = write(
            *runs, output=output, force=force, data=data, wording=wording, on_progress=on_progress
        )
    terminal.show_report(made, as_json=as_json)
