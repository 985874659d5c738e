"""A CSV file as a header and numbered rows, in bounded memory; whatever is no CSV is refused."""

import codecs
import csv
from collections.abc import Callable, Iterator
from io import TextIOWrapper
from pathlib import Path

from pipeline.errors import DatasetError
from pipeline.system.csv_files import read_lines
from pipeline.system.paths import open_regular_file

_DELIMITERS = ",;\t"


class CsvTable:
    """A list of values with a header in its first line.

    The separator is the one by which the header makes sense: a name may hold the others.

    Args:
        path: of the file.
        is_header: whether a list of names may be the header.

    Attributes:
        header: the names as they stand there; empty where there is no first line.
        delimiter: what separates values.

    Raises:
        DatasetError: it cannot be read, or is no CSV in UTF-8.
    """

    def __init__(self, path: Path, is_header: Callable[[list[str]], bool]):
        self.path = path
        _require_utf8(path)
        headers: dict[str, list[str]] = {}
        problem = None
        for delimiter in _DELIMITERS:
            try:
                headers[delimiter] = next(self._read(delimiter), (1, []))[1]
            except DatasetError as error:  # quotes may make sense with another one
                problem = problem or error
        self.delimiter = max(
            headers, key=lambda one: (is_header(headers[one]), len(headers[one])), default=""
        )
        self.header = headers.get(self.delimiter, [])
        if problem is not None and not is_header(self.header):
            raise problem

    def rows(self) -> Iterator[tuple[int, list[str] | None]]:
        """The line number and the values of each row that is not empty; None for a wrong number
        of values.
        """
        rows = self._read(self.delimiter)
        next(rows)
        for line, values in rows:
            if values:
                yield line, values if len(values) == len(self.header) else None

    def _read(self, delimiter: str) -> Iterator[tuple[int, list[str]]]:
        """(line number, values) of each row, the header's first."""
        start = 1
        try:
            with TextIOWrapper(
                open_regular_file(self.path), "utf-8-sig", errors="surrogateescape", newline=""
            ) as file:
                reader = csv.reader(
                    _without_nul(read_lines(file)), delimiter=delimiter, strict=True
                )
                for values in reader:
                    yield start, values
                    start = reader.line_num + 1
        except OSError as error:
            raise DatasetError(
                f"This list cannot be read: {error.strerror}. Received: {self.path}"
            ) from error
        except csv.Error as error:
            raise DatasetError(
                f"This is no CSV: {error}, from line {start} on. Expected comma-separated values "
                f"with a header. Received: {self.path}"
            ) from error


def _without_nul(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if "\0" in line:
            raise csv.Error("it holds NUL characters")
        yield line


def _require_utf8(path: Path) -> None:
    """Raises a DatasetError for the UTF-16 that spreadsheets write as "Unicode text"."""
    try:
        with open_regular_file(path) as file:
            start = file.read(4)
    except OSError as error:
        raise DatasetError(
            f"This list cannot be read: {error.strerror}. Received: {path}"
        ) from error
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start:
        raise DatasetError(
            f"This list is UTF-16. Expected UTF-8. Received: {path}\n"
            "Save it as UTF-8: in a spreadsheet that kind is called `CSV UTF-8`."
        )
