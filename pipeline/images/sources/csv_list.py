"""Reads a list of images with labels, and perhaps splits, from a CSV file."""

import os
import re
import stat
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path, PurePath

from pipeline.errors import DatasetError
from pipeline.images.sources.candidates import is_hidden, may_be_image_by_name
from pipeline.images.sources.csv_columns import (
    Columns,
    choose_columns,
    is_header,
    is_name_of_image,
)
from pipeline.images.sources.csv_table import CsvTable
from pipeline.images.sources.findings import Findings, FoundImage
from pipeline.system.paths import modified_ns

SUFFIXES = (".csv", ".tsv")
_N_ERRORS_SHOWN = 5
_ROWS_LOOKED_AT = 100
_NO_UTF8 = "its label is not UTF-8"
_SEVERAL_LABELS = re.compile(r"\||^\[.*,.*\]$")
_BETWEEN_LABELS = re.compile(r"\s*[;,]\s*")


def read_csv_list(
    csv_path: Path, *, has_labels: bool = True, on_look: Callable[[], None] = lambda: None
) -> Findings:
    """Reads paths, labels and splits by the names of their columns, in any order.

    Paths are relative to the folder of the CSV. An empty label is none; a line for a file that
    is not there gives an image that is skipped later, with that reason.

    Args:
        has_labels: whether a column is to give the labels.
        on_look: called for each line.

    Raises:
        DatasetError: it cannot be read, it is not certain which column is which, a cell holds
            several labels, or lines are wrong: all are named.
    """
    table = CsvTable(csv_path, is_header)
    columns = choose_columns(
        csv_path,
        table.header,
        table.rows,
        needs_label=has_labels,
        delimiter=table.delimiter,
    )
    _require_paths(csv_path, columns, table)
    files = _Files(csv_path.parent)
    findings, problems = Findings(notes=list(columns.notes)), []
    images, row_of, lines = findings.images, dict[str, int](), array("q")
    for line, values in table.rows():
        on_look()
        image = _parse(files, columns, values)
        if isinstance(image, str):
            problems.append(f"line {line}: {image}")
        elif image.path not in row_of:
            row_of[image.path] = len(images)
            lines.append(line)
            images.append(image)
        elif images[row_of[image.path]] == image:
            findings.passed_over["lines that repeat another one"] += 1
        else:
            first = lines[row_of[image.path]]
            problems.append(f"line {line}: {image.path} is in line {first} already, and differs")
    if problems:
        raise _refuse(csv_path, problems)
    _require_single_labels(csv_path, columns, zip(lines, images.class_names, strict=True))
    findings.notes += files.notes(len(images))
    return findings


def _require_paths(csv_path: Path, columns: Columns, table: CsvTable) -> None:
    """Refuses a list whose labels are names of images and whose paths are not."""
    if columns.label is None:
        return
    paths, labels = columns.path, columns.label
    some = [values for _, values in islice(table.rows(), _ROWS_LOOKED_AT) if values is not None]
    if some and all(
        is_name_of_image(values[labels]) and not is_name_of_image(values[paths]) for values in some
    ):
        path, label = (columns.names[column].strip() for column in (paths, labels))
        raise DatasetError(
            f"Column {path!r} holds no paths of images, and column {label!r} does. Expected the "
            f"paths in {path!r}. Received: {csv_path} with {some[0][paths]!r} there\n"
            "The columns seem to be swapped: swap the two names in the first line."
        )


def _refuse(csv_path: Path, problems: list[str]) -> DatasetError:
    shown = "\n".join(f"  {problem}" for problem in problems[:_N_ERRORS_SHOWN])
    more = len(problems) - _N_ERRORS_SHOWN
    if any(problem.endswith(_NO_UTF8) for problem in problems):
        way_out = "Save the list as UTF-8: in a spreadsheet that kind is called `CSV UTF-8`."
    else:
        way_out = "Correct the lines, or take them out."
    return DatasetError(
        f"{len(problems):,} {'line' if len(problems) == 1 else 'lines'} of this list cannot be "
        f"used. Received: {csv_path}\n{shown}"
        + (f"\n  and {more:,} more" if more > 0 else "")
        + "\nExpected in each line a path, a label or nothing, and a split (train, val, test) "
        f"or nothing. {way_out}"
    )


def _parse(files: "_Files", columns: Columns, values: list[str] | None) -> FoundImage | str:
    """The image of a line, or what is wrong with the line."""
    if values is None:
        return "not as many values as there are columns"
    path = values[columns.path]
    label = "" if columns.label is None else values[columns.label].strip()
    if not path.strip():
        return "no path"
    try:
        label.encode()
    except UnicodeEncodeError:
        return _NO_UTF8
    split = columns.read_split(values)
    if isinstance(split, str):
        return split
    found = files.find(path)
    if isinstance(found, str):
        return found
    return FoundImage(found.path, found.size, found.mtime, label or None, split)


def _require_single_labels(
    csv_path: Path, columns: Columns, labels: Iterable[tuple[int, str | None]]
) -> None:
    """Refuses lists that give an image several labels in a cell, as far as that is certain.

    `a|b` and `['a', 'b']` are; `a;b` and `a, b` are where `a` and `b` are labels of others.
    """
    first: dict[str, int] = {}
    for line, label in labels:
        if label is not None:
            first.setdefault(label, line)
    for label, line in first.items():
        parts = _BETWEEN_LABELS.split(label)
        if _SEVERAL_LABELS.search(label) or (
            len(parts) > 1 and all(part in first for part in parts)
        ):
            raise DatasetError(
                f"Column {columns.names[columns.label or 0].strip()!r} holds several labels in a "
                "cell, and here an image has one class. Expected one label in each cell. "
                f"Received: {label!r} in line {line} of {csv_path}\n"
                "Keep the label that counts. If this is the name of one class, write another "
                "character in it."
            )


@dataclass(frozen=True)
class _File:
    """What a cell names: the path from the list's folder; bytes and nanoseconds, 0 for none."""

    path: str
    size: int = 0
    mtime: int = 0


@dataclass
class _Files:
    """The files that the paths of a list lead to.

    Args:
        folder: of the list.
    """

    folder: Path
    _n_missing: int = 0
    _completed: list[tuple[str, str]] = field(default_factory=list)
    _names: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def find(self, cell: str) -> _File | str:
        """The file as it is written, else without stray spaces, with `/` for `\\`, or with the
        extension that it lacks; or why that is not certain.

        One that is not there has no size, which is noticed when it is read.
        """
        plain = cell.strip()
        for name in dict.fromkeys((cell, plain, plain.replace("\\", "/"))):
            if (found := self._measure(name)) is not None:
                return found
        endings = self._find_endings(plain)
        if len(endings) > 1:
            return f"{plain} may be {' or '.join(endings[:3])}; write which"
        if endings and (found := self._measure(endings[0])) is not None:
            self._completed.append((plain, endings[0]))
            return found
        self._n_missing += 1
        return _File(_normal(plain))

    def notes(self, n_images: int) -> list[str]:
        """What to say of the paths.

        Args:
            n_images: of the list.
        """
        notes = []
        if self._completed:
            cell, name = self._completed[0]
            n = len(self._completed)
            notes.append(
                f"{n:,} {'path lacks' if n == 1 else 'paths lack'} an extension; the only file of "
                f"that name was taken, such as {name} for {cell}."
            )
        if self._n_missing and self._n_missing >= n_images:
            notes.append(
                f"None of the {n_images:,} files is there. Paths are relative to the list's "
                f"folder, {self.folder.resolve()}."
            )
        return notes

    def _measure(self, name: str) -> _File | None:
        try:
            status = (self.folder / name).stat()
        except (OSError, ValueError):
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return _File(_normal(name), status.st_size, modified_ns(status))

    def _find_endings(self, name: str) -> list[str]:
        """Files that are called so but for an extension, which may be that of an image."""
        place, _, base = name.replace("\\", "/").rpartition("/")
        if place not in self._names:
            self._names[place] = _list_by_stem(self.folder / place)
        return [
            f"{place}/{found}" if place else found for found in self._names[place].get(base, ())
        ]


def _list_by_stem(folder: Path) -> dict[str, list[str]]:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except (OSError, ValueError):
        return {}
    by_stem: dict[str, list[str]] = {}
    for name in names:
        if PurePath(name).suffix and not is_hidden(name) and may_be_image_by_name(name):
            by_stem.setdefault(PurePath(name).stem, []).append(name)
    return by_stem


def _normal(name: str) -> str:
    return os.path.normpath(name).replace(os.sep, "/")
