"""Lists that mend a data set: other labels for its images, and images to leave out.

`fix.csv`, which the page of an audit saves, is both: the columns path, label and exclude.
"""

from pathlib import Path

from pipeline.errors import DatasetError
from pipeline.images.sources.csv_columns import choose_columns, is_header, parse_flag
from pipeline.images.sources.csv_table import CsvTable

EXCLUDE_COLUMN = "exclude"


def read_labels(path: Path) -> dict[str, str]:
    """The label of each path that a list names, empty for none.

    Raises:
        DatasetError: it cannot be read, does not say which column is which, or contradicts itself.
    """
    table = CsvTable(path, is_header)
    columns = choose_columns(path, table.header, table.rows, needs_label=True)
    label_of: dict[str, str] = {}
    for line, values in table.rows():
        label = "" if values is None or columns.label is None else values[columns.label].strip()
        if values is None or label_of.setdefault(values[columns.path], label) != label:
            raise _refuse(path, line, values, "another label than a line before")
    return label_of


def read_excluded(path: Path) -> tuple[set[str], set[str]]:
    """The paths that a list leaves out, and all that it names.

    Those whose `exclude` is yes; in a list without such a column all.

    Raises:
        DatasetError: it cannot be read, names no column of paths, or contradicts itself.
    """
    table = CsvTable(path, is_header)
    columns = choose_columns(path, table.header, table.rows, needs_label=False)
    places = [place for place, name in enumerate(table.header)
              if name.strip().lower() == EXCLUDE_COLUMN]  # fmt: skip
    is_out: dict[str, bool] = {}
    for line, values in table.rows():
        word = values[places[0]].strip() if values is not None and places else ""
        says = parse_flag(word) if word else not places
        if says is None:
            raise DatasetError(
                f"Line {line} of this list does not say whether its image is to be left out. "
                f"Expected yes or nothing in the column {EXCLUDE_COLUMN}. Received: {word!r} in "
                f"{path}"
            )
        if values is None or is_out.setdefault(values[columns.path], says) != says:
            raise _refuse(path, line, values, f"another {EXCLUDE_COLUMN} than a line before")
    return {name for name, out in is_out.items() if out}, set(is_out)


def _refuse(path: Path, line: int, values: list[str] | None, has: str) -> DatasetError:
    what = "has not as many values as columns" if values is None else f"has {has}"
    return DatasetError(f"Line {line} of this list {what}. Received: {path}")


def refuse_strangers(path: Path, known: str, what: str) -> DatasetError:
    """The error for a list that names not one image of a data set.

    Args:
        known: a path as it would be right.
        what: the list was to say of images.
    """
    return DatasetError(
        f"Not one image {what} in this list. Expected paths such as {known!r}. Received: {path}"
    )
