"""`cli.py fetch`: make a data set."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.commands.options import whole_number
from pipeline.commands.shared import command, force_option, json_option, option, output_option

if TYPE_CHECKING:
    from pipeline.commands.terminal.data_output import DataOutput


@command("fetch", shown_by="pipeline.commands.terminal.data_output:DataOutput")
@click.argument("source")
@option("--max-bytes", default=100 * 10**9, type=whole_number(least=1), help="Refuse an archive "
         "that expands to more.")  # fmt: skip
@output_option
@force_option
@json_option
def fetch(
    terminal: "DataOutput",
    source: str,
    output: Path | None,
    force: bool,
    max_bytes: int,
    as_json: bool,
) -> None:
    """Make a data set under data/.

    \b
    SOURCE is one of
      digits      1,797 handwritten digits from scikit-learn; nothing is downloaded
      flowers     TensorFlow's 3,670 photos of five flowers, 229 MB to download
      tfds:NAME   a data set of TensorFlow Datasets (pip install '.[tfds]')
      ARCHIVE     a .zip, .tar or .tar.gz file, unpacked with care

    \b
    Examples:
      python cli.py fetch digits
      python cli.py fetch photos.zip
      python cli.py fetch tfds:cifar10 --output data/cifar
    """
    from pipeline.images.fetch import fetch as fetch_source

    fetched = fetch_source(source, output, force=force, max_bytes=max_bytes)
    terminal.show_fetched(fetched, as_json=as_json)
