"""What looking through a source of images finds: the images, and what was passed over."""

import re
from collections import Counter
from dataclasses import dataclass, field

SPLITS = ("train", "val", "test")
UNLABELLED = -1
NO_SPLIT = -1

_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trainset"), 0),
    **dict.fromkeys(("val", "valid", "validation", "valset", "dev", "eval"), 1),
    **dict.fromkeys(("test", "testing", "testset"), 2),
}


@dataclass(frozen=True)
class FoundImage:
    """A candidate file and what its source says about it.

    Args:
        path: relative to the data set's root, `/`-separated.
        size: bytes.
        mtime: nanoseconds.
        class_name: None = unlabelled.
        split: index into SPLITS, NO_SPLIT = not given.
    """

    path: str
    size: int
    mtime: int
    class_name: str | None
    split: int


@dataclass
class Findings:
    """Images in any order, counts of what was passed over by kind, and sentences for people."""

    images: list[FoundImage] = field(default_factory=list)
    passed_over: Counter = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)


def split_of_name(name: str) -> int | None:
    """`seg_train` -> 0, `training_set` -> 0, `validation` -> 1, `daisy` -> None."""
    words = re.split(r"[^a-z]+", name.lower())
    splits = {_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS}
    return splits.pop() if len(splits) == 1 else None


def printable(text: str) -> str:
    """A name as one line that any terminal can show: control characters and stray bytes escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def printable_lines(text: str) -> str:
    """Text with its own line breaks, and everything else as `printable` shows it."""
    return "\n".join(printable(line) for line in text.split("\n"))
