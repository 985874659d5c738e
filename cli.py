"""The command line of Frostline."""

import os
import shlex
import sys
from pathlib import Path

from pipeline.system.endings import ending_at_once_when_told
from pipeline.system.missing_packages import describe_missing_package
from pipeline.system.sieved_stderr import want_sieve
from pipeline.system.standard_streams import open_closed_streams

try:
    with ending_at_once_when_told():  # for the moment that these imports take
        import click

        from pipeline.commands.audit import audit
        from pipeline.commands.backbones import backbones
        from pipeline.commands.evaluate import evaluate
        from pipeline.commands.export import export
        from pipeline.commands.extract import extract
        from pipeline.commands.features import features
        from pipeline.commands.fetch import fetch
        from pipeline.commands.finetune import finetune
        from pipeline.commands.fit_head import fit_head
        from pipeline.commands.predict import predict
        from pipeline.commands.probe import probe
        from pipeline.commands.report import report
        from pipeline.commands.runs import runs
        from pipeline.commands.serve import serve
        from pipeline.commands.shared import Program
        from pipeline.commands.suggest import suggest
except ModuleNotFoundError as error:
    words = describe_missing_package(error)
    if words is None:
        raise
    sys.exit(f"Error: {words}")

# Before any file is opened, which would get the number of a stream that is closed.
open_closed_streams()

# Before anything imports TensorFlow: its start-up talk is of no use to the people who read this.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="frostline")
def main() -> None:
    """Transfer learning with cached embeddings: extract features once, fit heads in seconds,
    fine-tune what pays.

    \b
    A first try, without a network:
      python cli.py fetch digits
      python cli.py extract data/digits --backbone efficientnet-lite0 --image-size 96
      python cli.py fit-head cache/digits-*.h5
      python cli.py finetune runs/digits-efficientnet-lite0-logreg-1
    """


for command in (
    *(fetch, probe, extract, fit_head, finetune, evaluate, predict, report, export, serve),
    *(audit, suggest, runs, backbones, features),
):
    main.add_command(command)


def run(prog_name: str | None = None) -> None:
    """The command line as a program of its own; an installed `frostline` knows its name itself."""
    want_sieve()
    try:
        code = main(prog_name=prog_name)
    except SystemExit as ended:
        code = ended.code
    # Now the frames of what was interrupted are gone, and the threads that they left at work: no
    # library computes any more while Python ends.
    sys.exit(code)


if __name__ == "__main__":
    run(f"{Path(sys.executable).name} {shlex.quote(sys.argv[0])}")
