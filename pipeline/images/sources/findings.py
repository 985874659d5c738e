"""What looking through a source of images finds: the images, and what was passed over."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
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


class FoundImages:
    """Images in any order, a column for each fact: as objects they would take twice the memory,
    and leave it in pieces.
    """

    def __init__(self, images: Iterable[FoundImage] = ()):
        self.paths: list[str] = []
        self.sizes = array("q")
        self.mtimes = array("q")
        self.class_names: list[str | None] = []
        self.splits = array("b")
        self += images

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, row: int) -> FoundImage:
        return FoundImage(
            self.paths[row],
            self.sizes[row],
            self.mtimes[row],
            self.class_names[row],
            self.splits[row],
        )

    def __iter__(self) -> Iterator[FoundImage]:
        return map(self.__getitem__, range(len(self)))

    def __iadd__(self, images: Iterable[FoundImage]) -> "FoundImages":
        for image in images:
            self.append(image)
        return self

    def append(self, image: FoundImage) -> None:
        self.paths.append(image.path)
        self.sizes.append(image.size)
        self.mtimes.append(image.mtime)
        self.class_names.append(image.class_name)
        self.splits.append(image.split)


@dataclass
class Findings:
    """Images in any order, counts of what was passed over by kind, and sentences for people.

    `on_look` is called for each file, or line of a list, that is looked at.
    """

    images: FoundImages = field(default_factory=FoundImages)
    passed_over: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    on_look: Callable[[], None] = lambda: None
