"""The three splits, by name and by number, and what lies on both sides of one."""

import re
from collections import defaultdict

import numpy as np

SPLITS = ("train", "val", "test")
TRAIN, VAL, TEST = range(3)
NO_SPLIT = -1  # the source does not say, or the image has no label
UNLABELLED = -1  # in the place of a label

_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trainset"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "valset", "dev", "eval"), VAL),
    **dict.fromkeys(("test", "testing", "testset"), TEST),
}


def split_of_name(name: str) -> int | None:
    """`seg_train` -> 0, `training_set` -> 0, `validation` -> 1, `daisy` -> None."""
    words = re.split(r"[^a-z]+", name.lower())
    splits = {_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS}
    return splits.pop() if len(splits) == 1 else None


def find_straddlers(keys: np.ndarray, splits: np.ndarray) -> list[list[int]]:
    """Rows of equal images (or of one group) that lie in different splits, a list per key."""
    return [
        rows
        for rows in _group_rows(keys)
        if len({int(splits[row]) for row in rows if splits[row] != NO_SPLIT}) > 1
    ]


def find_equal_images(digests: np.ndarray) -> list[list[int]]:
    """Rows of images that are in the data set more than once, a list per image."""
    return [rows for rows in _group_rows(digests) if len(rows) > 1]


def find_conflicts(digests: np.ndarray, labels: np.ndarray) -> list[list[int]]:
    """Rows of equal images with different labels, a list per image."""
    return [
        rows
        for rows in find_equal_images(digests)
        if len({int(labels[row]) for row in rows if labels[row] != UNLABELLED}) > 1
    ]


def _group_rows(keys: np.ndarray) -> list[list[int]]:
    rows_of = defaultdict(list)
    for row, key in enumerate(keys):
        rows_of[key.tobytes()].append(row)
    return list(rows_of.values())
