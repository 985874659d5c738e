"""CSV files that every reader takes for what they are, and that are read back to the last byte.

Cells are quoted wherever a reader could mistake them: a comma, a quote, a line feed, and a carriage
return, which ends a line for most readers and which Python's own writer leaves bare. Lines end with
a line feed. The text is UTF-8, in which the bytes of a file name that is none stay as they are.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.system.atomic_files import atomic_output
from pipeline.system.parallel import in_batches
from pipeline.system.paths import open_regular_file

_ROWS_PER_WRITE = 10_000  # so that memory does not hold a million lines of text
_LONGEST_LINE = 1 << 20  # characters; a file without line breaks must not fill the memory
_ENCODING, _STRAY_BYTES = "utf-8", "surrogateescape"


class _Lines:
    """Where a CSV writer writes: it ends lines with CR LF, so that it quotes either of the two."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line[:-2] + "\n")


def format_csv(rows: Iterable[Iterable[object]]) -> str:
    """Rows of cells as text; None is an empty cell."""
    target = _Lines()
    csv.writer(target, lineterminator="\r\n").writerows(rows)
    return "".join(target.lines)


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Writes a file atomically, the rows as they come.

    Raises:
        StorageError: it cannot be written.
    """
    with atomic_output(path) as output:
        for block in in_batches(rows, _ROWS_PER_WRITE):
            output.write(format_csv(block).encode(_ENCODING, _STRAY_BYTES))


def read_lines(file: io.TextIOWrapper) -> Iterator[str]:
    """The lines of a file, each in bounded memory.

    Raises:
        csv.Error: a line is longer than any in a CSV.
    """
    while line := file.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE and line[-1] not in "\r\n":
            raise csv.Error(f"a line has more than {_LONGEST_LINE:,} characters")
        yield line


def read_csv(path: Path) -> Iterator[list[str]]:
    """The rows of a file that `write_csv` wrote, as they are read.

    Raises:
        OSError: it cannot be read, or is a pipe or device.
        ValueError: it is no CSV.
    """
    with io.TextIOWrapper(
        open_regular_file(path), encoding=_ENCODING, errors=_STRAY_BYTES, newline=""
    ) as file:
        try:
            yield from csv.reader(read_lines(file), strict=True)
        except csv.Error as error:
            raise ValueError(f"it is no CSV: {error}") from error
