"""Reads a list of images with labels, and perhaps splits, from a CSV file."""

import codecs
import csv
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import DatasetError
from pipeline.images.sources.findings import Findings, FoundImage
from pipeline.images.splits import NO_SPLIT, split_of_name
from pipeline.system.paths import is_file

SUFFIXES = (".csv", ".tsv")
_DELIMITERS = ",;\t"
_KNOWN_COLUMNS = ("path", "label", "split")
_N_ERRORS_SHOWN = 5


def read_csv_list(csv_path: Path) -> Findings:
    """Reads the columns `path`, `label` and `split`, by name and in any order; only the first is
    required, and others are ignored.

    Paths are relative to the folder of the CSV. An empty label is none; a line for a file that
    is not there gives an image that is skipped later, with that reason.

    Raises:
        DatasetError: it cannot be read, a column is missing, or lines are wrong: all are named.
    """
    findings, problems = Findings(), []
    line_of: dict[str, tuple[int, FoundImage]] = {}
    n_repeated = 0
    for line, row in _read_rows(csv_path):
        image = _parse(csv_path.parent, row)
        if isinstance(image, str):
            problems.append(f"line {line}: {image}")
        elif image.path not in line_of:
            line_of[image.path] = line, image
        elif line_of[image.path][1] == image:
            n_repeated += 1
        else:
            first = line_of[image.path][0]
            problems.append(f"line {line}: {image.path} is in line {first} already, and differs")
    if problems:
        shown = "\n".join(f"  {problem}" for problem in problems[:_N_ERRORS_SHOWN])
        more = len(problems) - _N_ERRORS_SHOWN
        raise DatasetError(
            f"{len(problems):,} line(s) of this list cannot be used. Received: {csv_path}\n{shown}"
            + (f"\n  and {more:,} more" if more > 0 else "")
            + "\nExpected in each line a path, a label or nothing, and a split (train, val, test) "
            "or nothing. Correct the lines, or take them out."
        )
    findings.images = [image for _, image in line_of.values()]
    if n_repeated:
        findings.passed_over["lines that repeat another one"] = n_repeated
    return findings


def _read_rows(csv_path: Path) -> Iterator[tuple[int, dict[str, str] | None]]:
    """(line number, values by column) of each line that is not empty; None for a wrong number."""
    start = 1
    try:
        _require_utf8(csv_path)
        with csv_path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            header = file.readline()
            delimiter = max(_DELIMITERS, key=header.count)
            names = next(csv.reader([header], delimiter=delimiter), [])
            columns = [name.strip().lower() for name in names]
            _require_columns(columns, csv_path)
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            start = 2
            for values in reader:
                line, start = start, reader.line_num + 2
                if values:
                    matches = len(values) == len(columns)
                    yield line, dict(zip(columns, values, strict=True)) if matches else None
    except OSError as error:
        raise DatasetError(
            f"This list cannot be read: {error.strerror}. Received: {csv_path}"
        ) from error
    except csv.Error as error:
        raise DatasetError(
            f"This is no CSV: {error}, from line {start} on. Expected comma-separated values with "
            f"a header. Received: {csv_path}"
        ) from error


def _require_utf8(csv_path: Path) -> None:
    """Raises a DatasetError for the UTF-16 that spreadsheets write as "Unicode text"."""
    with csv_path.open("rb") as file:
        start = file.read(4)
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in start:
        raise DatasetError(
            f"This list is UTF-16. Expected UTF-8. Received: {csv_path}\n"
            "Save it as UTF-8: in a spreadsheet that kind is called `CSV UTF-8`."
        )


def _require_columns(columns: list[str], csv_path: Path) -> None:
    if "path" not in columns or any(columns.count(name) > 1 for name in _KNOWN_COLUMNS):
        raise DatasetError(
            "The first line of a list of images names its columns. Expected path, and label and "
            f"split where there are any, once each. Received: {csv_path} with "
            f"{', '.join(columns) or 'an empty first line'}"
        )


def _parse(folder: Path, row: dict[str, str] | None) -> FoundImage | str:
    """The image of a line, or what is wrong with the line."""
    if row is None:
        return "not as many values as there are columns"
    path = row["path"]
    label, split_name = (row.get(name, "").strip() for name in _KNOWN_COLUMNS[1:])
    if not path.strip() or "\0" in path:
        return "no path"
    try:
        label.encode()
    except UnicodeEncodeError:
        return "its label is not UTF-8"
    split = split_of_name(split_name) if split_name else NO_SPLIT
    if split is None:
        return f"unknown split {split_name!r}"
    place = Path(os.path.normpath(_find_spelling(folder, path)))
    size, mtime = _measure(folder / place)
    return FoundImage(place.as_posix(), size, mtime, label or None, split)


def _find_spelling(folder: Path, path: str) -> str:
    """The path as it is where such a file is, else without stray spaces, or with `/` for `\\`."""
    plain = path.strip()
    spellings = (path, plain, plain.replace("\\", "/"))
    return next((name for name in spellings if is_file(folder / name)), plain)


def _measure(path: Path) -> tuple[int, int]:
    """Size and time of a file; zeros where there is none, which is noticed when it is read."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return 0, 0
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else (0, 0)
