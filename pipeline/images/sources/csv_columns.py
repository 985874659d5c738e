"""What each column of a list of images is for, by the names that people give them.

What is certain is used and said; what is not is an error that says how to make it certain. No
column is passed over without a word.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from pipeline.errors import DatasetError
from pipeline.images.splits import NO_SPLIT, SPLITS, TEST, TRAIN, VAL, split_of_name
from pipeline.system.printable import printable

# The first group of which a name is there is taken; of two names of one group neither is certain.
_PATHS = (
    ("path",),
    ("file_path", "filepath", "file_name", "filename", "fname", "file"),
    ("image_path", "img_path", "image_file", "image_name", "image", "img"),
    ("image_id", "img_id", "id"),
)
_LABELS = (
    ("label",),
    ("labels", "class", "class_name", "classname", "label_name", "category", "target"),
    ("class_id", "label_id", "category_id"),
)
_WORDS = ("splits", "set", "subset", "partition", "fold", "folds", "part", "phase", "usage",
          "data_split", "dataset_split", "image_set")  # fmt: skip
_FLAGS = {
    **dict.fromkeys(("is_train", "is_training", "is_training_image", "train"), TRAIN),
    **dict.fromkeys(("is_valid", "is_val", "is_validation", "val", "validation"), VAL),
    **dict.fromkeys(("is_test", "is_testing", "is_test_image", "test"), TEST),
}
_TRUE = ("true", "t", "yes", "y", "1", "1.0")
_FALSE = ("false", "f", "no", "n", "0", "0.0")
_NUMBERS_OF_SPLITS = {"0", "1", "2"}
_MOST_VALUES = 100  # of a column, to be looked at
_VALUES_SHOWN = 4
_COLUMNS_SHOWN = 50
_MOST_ROWS = 100  # that are looked at for what a column without a known name holds
_NAME_OF_IMAGE = re.compile(
    r"[.](jpe?g|png|webp|gif|bmp|tiff?|avif|hei[cf]|jp2)\s*$", re.IGNORECASE
)

Rows = Callable[[], Iterable[tuple[int, list[str] | None]]]


@dataclass(frozen=True)
class Columns:
    """Which column holds what, by its place.

    Args:
        names: the header as people wrote it.
        path: of the image's file.
        label: None = there is none.
        split: of words such as `train`; None = there is none.
        flags: columns of true and false, and the split that an image is in where it is true.
        notes: what was taken for what, and what is not used.
    """

    names: list[str]
    path: int
    label: int | None
    split: int | None
    flags: dict[int, int]
    notes: list[str] = field(default_factory=list)

    def read_split(self, values: list[str]) -> int | str:
        """The split of a row, NO_SPLIT where it says nothing, or what is wrong with it."""
        if self.split is not None:
            word = values[self.split].strip()
            split = split_of_name(word) if word else NO_SPLIT
            if split is None:
                return f"unknown split {word!r} in column {_quote(self.names[self.split])}"
            return split
        if not self.flags:
            return NO_SPLIT
        said: dict[int, bool] = {}
        for column, split in self.flags.items():
            word = values[column].strip()
            if word and parse_flag(word) is None:
                return f"{self.names[column]!r} is neither true nor false: {word!r}"
            if word:
                said[split] = bool(parse_flag(word))
        return _decide(said)


def is_header(names: list[str]) -> bool:
    """Whether a list of images may begin with these names of columns."""
    found = {_plain(name) for name in names}
    return any(name in found for group in _PATHS for name in group)


def is_name_of_image(cell: str) -> bool:
    """Whether a cell ends like the file of an image."""
    return bool(_NAME_OF_IMAGE.search(cell))


def choose_columns(
    path: Path, names: list[str], rows: Rows, *, needs_label: bool, delimiter: str = ","
) -> Columns:
    """Decides which column holds what.

    Args:
        path: of the list, for messages.
        names: its header.
        rows: reads the list from its start, (line, values) of each row.
        needs_label: whether labels come from a column.
        delimiter: of the list, for messages.

    Raises:
        DatasetError: no column is certain to be the paths, the labels or the splits.
    """
    plain = [_plain(name) for name in names]
    place = _find(path, names, plain, _PATHS, "path")
    if place is None:
        advice = _advise_paths(names, rows, delimiter)
        raise DatasetError(
            "The first line of a list of images names its columns. Expected path, and label and "
            f"split where there are any. Received: {path} with {_list(names)}\n{advice}"
        )
    label = _find(path, names, plain, _LABELS, "label") if needs_label else None
    split, flags, said = _find_splits(path, names, plain, rows)
    used = {place, label, split, *flags} - {None}
    unused = [names[column] for column in range(len(names)) if column not in used]
    if label is None and needs_label and unused:
        raise DatasetError(
            "This list does not say which column holds the labels. Expected one that is called "
            f"label (or class, category, target). Received: {path} with {_list(names)}\n"
            "Rename the column that holds the classes to label. If the images have no labels, "
            f"leave only {names[place].strip()} and the split; if their paths name the class, say "
            "which part of it: `label_from=REGEX`."
        )
    notes = []
    for column, usual in ((place, "path"), (label, "label")):
        if column is not None and plain[column] != usual:
            notes.append(f"Column {_quote(names[column])} was taken for the {usual}.")
    notes += said
    if unused:
        nameless = "a column without a name"
        listed = nameless if unused == [""] else _list(unused)
        notes.append(f"Not used of {path.name}: {listed}.")
    return Columns(names, place, label, split, flags, notes)


def _advise_paths(names: list[str], rows: Rows, delimiter: str) -> str:
    """What to do with a list of which no column has a known name for paths."""
    usual = delimiter.join(("path", "label"))
    if not any(name.strip() for name in names):
        return f"Begin it with the line `{usual}`, and write a line for each image below it."
    if any(map(is_name_of_image, names)):
        roles = iter(("label", "split"))
        line = ["path" if is_name_of_image(name) else next(roles, "more") for name in names]
        return (
            f"Its first line is an image already: put the line `{delimiter.join(line)}` above it."
        )
    some = [values for _, values in islice(rows(), _MOST_ROWS) if values is not None]
    holders = [
        name
        for column, name in enumerate(names)
        if some and all(is_name_of_image(values[column]) for values in some)
    ]
    if len(holders) == 1:
        return f"Column {_quote(holders[0])} seems to hold the paths: rename it to path."
    return "Rename the column that holds the paths to path."


def _plain(name: str) -> str:
    """`Is-Valid ` -> `is_valid`."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def _find(
    path: Path, names: list[str], plain: list[str], groups: Iterable[tuple[str, ...]], role: str
) -> int | None:
    for group in groups:
        found = [column for column, name in enumerate(plain) if name in group]
        if len(found) > 1:
            raise _doubt(path, names, found, role)
        if found:
            return found[0]
    return None


def _doubt(path: Path, names: list[str], columns: Iterable[int], role: str) -> DatasetError:
    found = [names[column] for column in columns]
    return DatasetError(
        f"It is not certain which column holds the {role}. Expected one of them, once each. "
        f"Received: {path} with {_list(found)}\nName the right one {role}, and the others "
        "otherwise, or take them out."
    )


def _find_splits(
    path: Path, names: list[str], plain: list[str], rows: Rows
) -> tuple[int | None, dict[int, int], list[str]]:
    """The column of words, those of true and false, and what to say of them."""
    usual = [column for column, name in enumerate(plain) if name == "split"]
    if len(usual) > 1:
        raise _doubt(path, names, usual, "split")
    if usual:
        return usual[0], {}, []
    asked = [column for column, name in enumerate(plain) if name in _WORDS or name in _FLAGS]
    values = _collect_values(rows, asked) if asked else {}
    words, flags, notes = [], {}, []
    for column in asked:
        seen, name = values[column], plain[column]
        if name in _FLAGS:
            if name.startswith("is_") or (seen and all(map(_is_flag, seen))):
                flags[column] = _FLAGS[name]
        elif any(split_of_name(value) is not None for value in seen) or (
            seen and seen <= _NUMBERS_OF_SPLITS and not name.startswith("fold")
        ):
            words.append(column)
        elif name.startswith("fold") and any(value.isdecimal() for value in seen):
            notes.append(
                f"Column {_quote(names[column])} numbers folds ({_list(sorted(seen))}), which is "
                "no division into train and val, so it decides nothing. To validate on one of "
                "them, write a column split with val in its lines and train in the others."
            )
    if len(words) > 1 or (words and flags) or len(set(flags.values())) < len(flags):
        raise _doubt(path, names, [*words, *flags], "split")
    notes += [f"Column {_quote(names[column])} was taken for the split." for column in words]
    notes += _describe_flags(names, flags)
    return (words[0] if words else None), flags, notes


def _collect_values(rows: Rows, columns: list[int]) -> dict[int, set[str]]:
    """Some of the different values of columns, those of empty cells left out."""
    seen: dict[int, set[str]] = {column: set() for column in columns}
    for _, values in rows():
        for column in columns:
            value = "" if values is None else values[column].strip().lower()
            if value and len(seen[column]) < _MOST_VALUES:
                seen[column].add(value)
    return seen


def _describe_flags(names: list[str], flags: dict[int, int]) -> Iterator[str]:
    for column, split in flags.items():
        others = ""
        if len(flags) == 1:
            others = f", where it is false for {SPLITS[TEST if split == TRAIN else TRAIN]}"
        yield (
            f"Column {_quote(names[column])} was taken for the split: images where it is true are "
            f"for {SPLITS[split]}{others}."
        )


def _decide(said: dict[int, bool]) -> int | str:
    """The split of an image of which is said in which splits it is, and in which not.

    Where nothing is true it is for training, or if that is ruled out, for the split that is left,
    test before val: `is_train` alone divides a data set into train and test, as CUB's does.
    """
    true = [split for split, is_in in said.items() if is_in]
    if len(true) > 1:
        return f"it is in {' and in '.join(SPLITS[split] for split in true)} at once"
    if true or not said:
        return true[0] if true else NO_SPLIT
    left = [split for split in (TRAIN, TEST, VAL) if split not in said]
    return left[0] if left else "it is in no split"


def parse_flag(word: str) -> bool | None:
    """Whether a word says yes or no; None where it says neither."""
    word = word.lower()
    return True if word in _TRUE else False if word in _FALSE else None


def _is_flag(word: str) -> bool:
    return parse_flag(word) is not None


def _quote(name: str) -> str:
    return repr(printable(name.strip()))


def _list(names: list[str]) -> str:
    """Names of columns, or values, for people."""
    if not names or names == [""]:
        return "an empty first line"
    shown = [printable(name.strip())[:60] or "(no name)" for name in names[:_COLUMNS_SHOWN]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")
