"""Files beside the images by which well-known data sets tell classes and splits.

Tiny ImageNet's `val/val_annotations.txt`, CUB-200-2011's `train_test_split.txt`. A file that is not
exactly as expected tells nothing.
"""

from collections.abc import Iterator
from pathlib import Path

from pipeline.images.splits import TEST, TRAIN
from pipeline.system.paths import open_regular_file

_MOST_BYTES = 256 * 2**20
_CUB_IMAGES, _CUB_SPLIT = "images.txt", "train_test_split.txt"


def name_annotations(folder: Path) -> str:
    """What the list of classes in a split folder is called."""
    return f"{folder.name}_annotations.txt"


def read_annotations(folder: Path) -> dict[str, str]:
    """Name of a file -> class, from `val_annotations.txt` in a folder `val`; empty without one.

    Each line holds a file's name and its class, and perhaps a box, separated by tabs.
    """
    classes = {}
    for fields in _read_fields(folder / name_annotations(folder), "\t"):
        if len(fields) < 2 or not all(fields[:2]) or "/" in fields[0]:
            return {}
        classes[fields[0]] = fields[1]
    return classes


def read_cub_split(folder: Path) -> tuple[str, dict[str, int]]:
    """Path of an image -> split, from CUB's `images.txt` (number, path) and `train_test_split.txt`
    (number, 1 for train and 0 for test) in a folder; and the name of the second, empty without.
    """
    paths = {}
    for fields in _read_fields(folder / _CUB_IMAGES, " "):
        if len(fields) != 2 or not fields[0].isdecimal():
            return "", {}
        paths[fields[0]] = fields[1]
    splits = {}
    for fields in _read_fields(folder / _CUB_SPLIT, " "):
        if len(fields) != 2 or fields[0] not in paths or fields[1] not in ("0", "1"):
            return "", {}
        splits[paths[fields[0]]] = TRAIN if fields[1] == "1" else TEST
    return (_CUB_SPLIT if splits else ""), splits


def _read_fields(path: Path, separator: str) -> Iterator[list[str]]:
    """The fields of each line that is not empty; no line of a file that is not there or no text."""
    try:
        with open_regular_file(path) as file:
            data = file.read(_MOST_BYTES + 1)
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return
    if len(data) <= _MOST_BYTES:
        for line in text.splitlines():
            if line.strip():
                yield line.strip().split(separator)
