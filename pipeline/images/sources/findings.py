"""What looking through a source of images finds: the images, and what was passed over."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class FoundImage:
    """A candidate file and what its source says about it.

    Args:
        path: relative to the data set's root, `/`-separated.
        size: bytes.
        mtime: nanoseconds.
        class_name: None = unlabelled.
        split: index into `splits.SPLITS`, NO_SPLIT = not given.
    """

    path: str
    size: int
    mtime: int
    class_name: str | None
    split: int


@dataclass
class Findings:
    """Images in any order, counts of what was passed over by kind, and sentences for people.

    `on_look` is called for each file, or line of a list, that is looked at.
    """

    images: list[FoundImage] = field(default_factory=list)
    passed_over: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    on_look: Callable[[], None] = lambda: None
