"""A source of images to sorted paths, labels, class names and the splits it states itself."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.errors import DatasetError, ParameterError
from pipeline.images.sources import csv_list
from pipeline.images.sources.findings import Findings
from pipeline.images.sources.folders import find_images, find_labelled_images
from pipeline.images.splits import NO_SPLIT, SPLITS, UNLABELLED
from pipeline.system.paths import is_file, is_folder

_N_NOTES_SHOWN = 5
# The first that fits counts: a folder's name may stand at the end of what is outside of it.
_SINGULARS = {
    "images outside": "image outside",
    "files, which are not images": "file, which is not an image",
    "files that": "file that",
    "hidden files": "hidden file",
    "hidden folders": "hidden folder",
    "broken links and special files": "broken link or special file",
    "links that lead back to a folder above them": "link that leads back to a folder above it",
    "lines that repeat": "line that repeats",
}
ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")


@dataclass(frozen=True)
class Dataset:
    """Images in the order of their paths; all arrays have `n_samples` rows.

    Args:
        name: what the data set is called: its folder, and its CSV where it is one.
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

    def limited(self, limit: int | None) -> "Dataset":
        """At most `limit` images, evenly spaced, so that each class keeps its share."""
        if limit is None or limit >= len(self):
            return self
        rows = np.linspace(0, len(self) - 1, limit).round().astype(int)
        return self._of_rows(rows, f"Limited to {limit:,} of {len(self):,} images.")

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
                f"folders in it. Received: {self.root} with splits: {sorted(given) or 'none'}"
            )
        return self._of_rows(rows, f"Only the {name} split: {len(rows):,} images.")

    def _of_rows(self, rows: np.ndarray, note: str) -> "Dataset":
        return Dataset(
            name=self.name,
            root=self.root,
            paths=[self.paths[row] for row in rows.tolist()],
            labels=self.labels[rows],
            splits=self.splits[rows],
            sizes=self.sizes[rows],
            mtimes=self.mtimes[rows],
            class_names=self.class_names,
            notes=[*self.notes, note],
        )


def scan_dataset(source: Path, class_depth: int = 1) -> Dataset:
    """Finds the images of a data set.

    Four sources are known: a folder per class; a folder per split with a folder per class in
    each; images that lie in no class folder at all (unlabelled); and a CSV that lists images.

    Args:
        class_depth: how many folders down the classes are; 2 makes `cats/persian` a class.

    Raises:
        DatasetError: no such folder or CSV, or no image in it; or a `class_depth` for a CSV.
    """
    source = Path(source)
    if not isinstance(class_depth, int) or class_depth < 1:
        raise ParameterError(
            f"Expected `class_depth` to be a whole number at least 1. Received: {class_depth}",
            "class_depth",
        )
    _require_there(
        source,
        "images in a folder, or a CSV that lists some",
        "Check the path; `frostline.fetch('digits')` makes a small data set to try.",
    )
    if is_file(source):
        _require_csv(source, class_depth)
        findings = csv_list.read_csv_list(source)
        root = source.parent
        name = f"{root.resolve().name}-{source.stem}"
    else:
        _require_folder(source)
        findings = find_labelled_images(source, class_depth)
        root, name = source, source.resolve().name
    if not findings.images:
        raise DatasetError(_describe_empty(source, findings, class_depth))
    return _to_dataset(name, root, findings)


def expand_images(paths: Iterable[Path]) -> tuple[list[Path], list[str]]:
    """Files as they are, folders as all images in them and below, sorted; and what to say of them.

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
                raise DatasetError(_describe_empty(path, findings))
            found = [image.path for image in findings.images]
            images += [path / inner for inner in sorted(found, key=os.fsencode)]
            notes += [*findings.notes, *_note_passed_over(findings)]
        else:
            images.append(path)
    return images, notes


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive that `frostline.fetch` unpacks."""
    return path.name.lower().endswith(ARCHIVE_SUFFIXES) and not is_folder(path)


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
        raise DatasetError(
            f"There is no such folder or file. Expected {expected}. Received: {path}\n{way_out}"
        ) from None
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
            f"Unpack it with `frostline.fetch({path})`."
        )
    raise DatasetError(
        "This is a file. Expected a folder of images, or a CSV with the columns path and label. "
        f"Received: {path}\nPut the images in a folder per class and name the folder above them."
    )


def _to_dataset(name: str, root: Path, findings: Findings) -> Dataset:
    found = sorted(findings.images, key=lambda image: os.fsencode(image.path))
    class_names = sorted({image.class_name for image in found if image.class_name is not None})
    index = {class_name: label for label, class_name in enumerate(class_names)}
    labels = [
        UNLABELLED if image.class_name is None else index[image.class_name] for image in found
    ]
    n_unlabelled = sum(image.class_name is None for image in found)
    notes = findings.notes + _note_lookalikes(class_names)
    if n_unlabelled:
        notes.append(f"{n_unlabelled:,} of {len(found):,} images have no label.")
    notes += _note_passed_over(findings)
    return Dataset(
        name=name,
        root=root,
        paths=[image.path for image in found],
        labels=np.array(labels, np.int32),
        splits=np.array([image.split for image in found], np.int8),
        sizes=np.array([image.size for image in found], np.int64),
        mtimes=np.array([image.mtime for image in found], np.int64),
        class_names=class_names,
        notes=notes,
    )


def _note_passed_over(findings: Findings) -> list[str]:
    counts = sorted(findings.passed_over.items())
    return [
        f"Passed over {count:,} {kind if count > 1 else _in_singular(kind)}."
        for kind, count in counts
    ]


def _in_singular(kind: str) -> str:
    for plural, singular in _SINGULARS.items():
        if plural in kind:
            return kind.replace(plural, singular, 1)
    return kind


def _note_lookalikes(class_names: list[str]) -> list[str]:
    """Says which classes people will take for one: `Cat` and `cat`, or one name spelt in two ways
    of Unicode.
    """
    alike = defaultdict(list)
    for name in class_names:
        alike[unicodedata.normalize("NFC", name).casefold().strip()].append(name)
    return [
        f"{' and '.join(map(repr, names))} are two classes, though their names differ in case, "
        "spaces or Unicode spelling only. Rename one if they are meant to be the same."
        for names in alike.values()
        if len(names) > 1
    ]


def _describe_empty(source: Path, findings: Findings, class_depth: int = 1) -> str:
    if findings.passed_over:
        counts = sorted(findings.passed_over.items())
        seen = "it holds " + ", ".join(f"{count:,} {kind}" for kind, count in counts)
    elif is_file(source):
        seen = "it has a header and no lines"
    else:
        seen = _describe_contents(source)
    expected = "a folder per class with images in it"
    if class_depth > 1:
        expected += f", {class_depth} levels down (`class_depth={class_depth}`)"
    return "\n".join(
        [
            f"No images in this data set: {seen}. Expected {expected}. Received: {source}",
            *findings.notes[:_N_NOTES_SHOWN],
            "Check the path; an archive is unpacked by `frostline.fetch(ARCHIVE)`.",
        ]
    )


def _describe_contents(folder: Path) -> str:
    try:
        return "its folders hold no files" if any(folder.iterdir()) else "it is empty"
    except OSError as error:
        return f"it cannot be listed: {error.strerror}"
