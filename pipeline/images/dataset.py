"""A source of images to sorted paths, labels, class names and the splits it states itself."""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

import numpy as np

from pipeline.errors import DatasetError, ParameterError
from pipeline.images.dataset_notes import (
    advise,
    describe_empty,
    note_lookalikes,
    note_passed_over,
    note_typos,
)
from pipeline.images.sources import csv_list
from pipeline.images.sources.archives import is_archive_name
from pipeline.images.sources.findings import Findings
from pipeline.images.sources.folders import find_images, find_labelled_images
from pipeline.images.sources.path_labels import label_by_pattern
from pipeline.images.splits import NO_SPLIT, SPLITS, UNLABELLED
from pipeline.system.paths import is_file, is_folder, is_pattern
from pipeline.system.progress import OnProgress

_MOST_NAME_BYTES = 120
_TOLD_EACH = 1000  # files or lines


@dataclass(frozen=True)
class Dataset:
    """Images in the order of their paths; all arrays have `n_samples` rows.

    Args:
        name: what files and runs are called that are made of it: after its folder, or its CSV and
            the folder of that; with the limit, where there is one.
        source: the folder or CSV as it was given.
        root: the folder that the paths are relative to.
        paths: relative to `root`, `/`-separated, sorted by their bytes.
        labels: int32, index into `class_names`, -1 = none.
        splits: int8, -1 = not given, 0 train, 1 val, 2 test.
        sizes: int64, bytes.
        mtimes: int64, nanoseconds.
        class_names: sorted.
        notes: what was passed over and why, one sentence each.
    """

    name: str
    source: Path
    root: Path
    paths: list[str]
    labels: np.ndarray
    splits: np.ndarray
    sizes: np.ndarray
    mtimes: np.ndarray
    class_names: list[str]
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def files(self) -> Iterator[Path]:
        """The image files, one by one: a million paths at once would fill the memory."""
        return (self.root / path for path in self.paths)

    def limited(self, limit: int | None) -> "Dataset":
        """At most `limit` images, evenly spaced, so that each class keeps its share."""
        if limit is None or limit >= len(self):
            return self
        rows = np.linspace(0, len(self) - 1, limit).round().astype(int)
        limited = self.of_rows(rows, f"Limited to {limit:,} of {len(self):,} images.")
        return replace(limited, name=f"{self.name}-limit{limit}")

    def of_split(self, name: str | None) -> "Dataset":
        """The images of one split that the source gives; all of them for None.

        Raises:
            DatasetError: the source gives no such split.
        """
        if name is None:
            return self
        if name not in SPLITS:
            raise ParameterError(
                f"Expected `split` to be one of {', '.join(SPLITS)}. Received: {name}", "split"
            )
        rows = np.flatnonzero(self.splits == SPLITS.index(name))
        if len(rows) == 0:
            given = {SPLITS[split] for split in self.splits.tolist() if split != NO_SPLIT}
            raise DatasetError(
                f"The data set gives no split {name!r}. Expected a folder of that name with class "
                "folders in it, or lines of that split in a list. "
                f"Received: {self.source} with splits: {sorted(given) or 'none'}"
            )
        return self.of_rows(rows, f"Only the {name} split: {len(rows):,} images.")

    def of_rows(self, rows: np.ndarray, note: str) -> "Dataset":
        """Some of the images, in their order, with a note that says which."""
        return replace(
            self,
            paths=[self.paths[row] for row in rows.tolist()],
            labels=self.labels[rows],
            splits=self.splits[rows],
            sizes=self.sizes[rows],
            mtimes=self.mtimes[rows],
            notes=[*self.notes, note],
        )


def scan_dataset(
    source: Path,
    class_depth: int = 1,
    label_from: str | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Dataset:
    """Finds the images of a data set.

    Four sources are known: a folder per class; a folder per split with a folder per class in
    each; images that lie in no class folder at all (unlabelled); and a CSV that lists images.

    Args:
        class_depth: how many folders down the classes are; 2 makes `cats/persian` a class.
        label_from: a regular expression that finds the class in an image's path, in place of
            class folders or a column: what its brackets hold, or without brackets the whole match.
        on_progress: called with a stage and the number of files or lines so far.

    Raises:
        DatasetError: no such folder or CSV, or no image in it; or a `class_depth` for a CSV.
        ParameterError: `class_depth` or `label_from` makes no sense.
    """
    source = Path(source)
    _require_sense(class_depth, label_from)
    _require_there(
        source,
        "images in a folder, or a CSV that lists some",
        "Check the path; `frostline.fetch('digits')` makes a small data set to try.",
    )
    if is_file(source):
        _require_csv(source, class_depth)
        findings = csv_list.read_csv_list(
            source, has_labels=label_from is None, on_look=_counter(on_progress, "Reading the list")
        )
        if label_from is not None:
            label_by_pattern(findings, label_from)
        root = source.parent
        name = "-".join(filter(None, (source.stem, root.resolve().name)))
    else:
        _require_folder(source)
        findings = find_labelled_images(
            source, class_depth, label_from, _counter(on_progress, "Looking for images")
        )
        root, name = source, source.resolve().name
    if not findings.images:
        raise DatasetError(describe_empty(source, findings, class_depth))
    return _to_dataset(shorten_name(name), source, root, findings)


def _counter(on_progress: OnProgress, stage: str) -> Callable[[], None]:
    """Counts, and tells of each thousand."""
    numbers = count(1)

    def look() -> None:
        if (number := next(numbers)) % _TOLD_EACH == 0:
            on_progress(stage, number, 0)

    return look


def shorten_name(name: str) -> str:
    """A data set's name as a part of names of files and runs, which have an end: 255 bytes."""
    encoded = os.fsencode(name)
    if len(encoded) <= _MOST_NAME_BYTES:
        return name or "data"
    start = encoded[: _MOST_NAME_BYTES - 9].decode("utf-8", "ignore")
    return f"{start}-{hashlib.sha256(encoded).hexdigest()[:8]}"


def expand_images(
    paths: Iterable[Path], *, may_be_list: bool = False
) -> tuple[list[Path], list[str]]:
    """Files as they are, folders as all images in them and below, sorted; and what to say of them.

    Args:
        may_be_list: a CSV stands for the images that it lists; else it is a file like any other.

    Raises:
        DatasetError: there is no such file, or no image in a folder.
    """
    images: list[Path] = []
    notes: list[str] = []
    for path in paths:
        _require_there(path, "an image, or a folder of images", "Check the path.")
        if is_folder(path):
            findings = find_images(path)
            if not findings.images:
                raise DatasetError(describe_empty(path, findings, is_labelled=False))
            images += [path / inner for inner in sorted(findings.images.paths, key=os.fsencode)]
            notes += [*findings.notes, *note_passed_over(findings)]
        elif may_be_list and path.suffix.lower() in csv_list.SUFFIXES:
            findings = csv_list.read_csv_list(path, has_labels=False)
            if not findings.images:
                raise DatasetError(describe_empty(path, findings))
            images += [path.parent / inner for inner in findings.images.paths]
            notes += findings.notes
        else:
            images.append(path)
    return images, notes


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive that `frostline.fetch` unpacks."""
    return is_archive_name(path.name) and not is_folder(path)


def _require_sense(class_depth: int, label_from: str | None) -> None:
    if not isinstance(class_depth, int) or class_depth < 1:
        raise ParameterError(
            f"Expected `class_depth` to be a whole number at least 1. Received: {class_depth}",
            "class_depth",
        )
    if label_from is not None and class_depth != 1:
        raise ParameterError(
            "The class is that of a folder or that which a pattern finds. Expected `class_depth` "
            f"or `label_from`. Received: `class_depth={class_depth}` and "
            f"`label_from={label_from!r}`",
            "label_from",
        )


def require_data_root(root: Path) -> None:
    """Raises a DatasetError where the folder of images that were used before is not there."""
    if not is_folder(root):
        raise DatasetError(
            f"There is no such folder: {root}. Expected the one that holds the images, as it was "
            "when their features were extracted.\nSay where it is now with `data=FOLDER`."
        )


def _require_there(path: Path, expected: str, way_out: str) -> None:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        what = "No file matches" if is_pattern(path) else "There is no such folder or file"
        raise DatasetError(f"{what}. Expected {expected}. Received: {path}\n{way_out}") from None
    except OSError as error:
        raise DatasetError(
            f"This path cannot be read: {error.strerror}. Expected a folder or file that you may "
            f"open. Received: {path}\nCheck the path and the rights of the folders in it."
        ) from error


def _require_folder(root: Path) -> None:
    if not is_folder(root):
        raise DatasetError(
            f"This is neither a folder nor a file. Expected a folder of images. Received: {root}"
        )


def _require_csv(path: Path, class_depth: int) -> None:
    if path.suffix.lower() in csv_list.SUFFIXES:
        if class_depth != 1:
            raise DatasetError(
                "A CSV names the label of each image; how deep it lies decides nothing. Expected "
                f"no `class_depth`. Received: `class_depth={class_depth}` for {path}\n"
                "Leave it out, or name the folder instead of the CSV."
            )
        return
    if is_archive(path):
        raise DatasetError(
            f"This is an archive. Expected a folder of images. Received: {path}\n"
            f"Unpack it with `frostline.fetch({str(path)!r})`."
        )
    raise DatasetError(
        "This is a file. Expected a folder of images, or a CSV with the columns path and label. "
        f"Received: {path}\nPut the images in a folder per class and name the folder above them; "
        "or if this is such a list, give it a name that ends with .csv."
    )


def _to_dataset(name: str, source: Path, root: Path, findings: Findings) -> Dataset:
    found = findings.images
    order = sorted(range(len(found)), key=lambda row: os.fsencode(found.paths[row]))
    paths = [found.paths[row] for row in order]
    class_names = sorted({name for name in found.class_names if name is not None})
    index: dict[str | None, int] = {name: label for label, name in enumerate(class_names)}
    index[None] = UNLABELLED
    labels = np.array([index[name] for name in found.class_names], np.int32)[order]
    n_unlabelled = int((labels == UNLABELLED).sum())
    counts = np.bincount(labels[labels != UNLABELLED], minlength=len(class_names))
    notes = findings.notes + note_lookalikes(class_names)
    notes += note_typos(class_names, counts.tolist())
    if n_unlabelled:
        notes.append(f"{n_unlabelled:,} of {len(found):,} images have no label.")
    if len(class_names) < 2:
        notes += advise(source, paths, class_names)
    notes += note_passed_over(findings)
    return Dataset(
        name=name,
        source=source,
        root=root,
        paths=paths,
        labels=labels,
        splits=np.array(found.splits, np.int8)[order],
        sizes=np.array(found.sizes, np.int64)[order],
        mtimes=np.array(found.mtimes, np.int64)[order],
        class_names=class_names,
        notes=notes,
    )
