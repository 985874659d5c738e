"""A folder of images to sorted paths, labels, class names and the splits it states itself.

Looks at names and `stat` only; of an image it never reads a byte, except the first few of files
whose extension says nothing.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import numpy as np

from pipeline.errors import DatasetError

SPLITS = ("train", "val", "test")
UNLABELLED = -1
NO_SPLIT = -1

_SPLIT_WORDS = {
    "train": 0,
    "training": 0,
    "val": 1,
    "valid": 1,
    "validation": 1,
    "dev": 1,
    "test": 2,
    "testing": 2,
}
_IMAGE_EXTENSIONS = frozenset(
    ".jpg .jpeg .jpe .jfif .png .apng .webp .gif .bmp .dib .tif .tiff .jp2 .j2k .jpx .ico .cur "
    ".ppm .pgm .pbm .pnm .pfm .tga .heic .heif .avif .psd .pcx .sgi .rgb .dds .xbm .xpm".split()
)
_OTHER_EXTENSIONS = frozenset(
    ".txt .md .rst .csv .tsv .json .jsonl .xml .html .htm .yaml .yml .ini .cfg .toml .log .db "
    ".py .ipynb .m .mat .npy .npz .h5 .hdf5 .pkl .zip .tar .gz .tgz .7z .rar .pdf .doc .docx "
    ".xls .xlsx .exe .sh .bat .mp3 .wav .mp4 .mov .avi .sha256 .md5 .lnk .url".split()
)
_IMAGE_STARTS = (
    b"\xff\xd8\xff",
    b"\x89PNG",
    b"GIF8",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"RIFF",
    b"\0\0\0\x0cjP",
    b"\xff\x4f\xff\x51",
)


@dataclass(frozen=True)
class Dataset:
    """Images in the order of their paths; all arrays have `n_samples` rows.

    Args:
        root: the folder.
        paths: relative to `root`, `/`-separated, sorted by their bytes.
        labels: int32, index into `class_names`, -1 = none.
        splits: int8, -1 = not given, 0 train, 1 val, 2 test.
        sizes: int64, bytes.
        mtimes: int64, nanoseconds.
        class_names: sorted.
        notes: what was passed over and why, one sentence each.
    """

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
            root=self.root,
            paths=[self.paths[row] for row in rows.tolist()],
            labels=self.labels[rows],
            splits=self.splits[rows],
            sizes=self.sizes[rows],
            mtimes=self.mtimes[rows],
            class_names=self.class_names,
            notes=[*self.notes, note],
        )


@dataclass
class _Found:
    """One candidate file and what its folders say about it."""

    path: str
    size: int
    mtime: int
    class_name: str | None
    split: int


def scan_dataset(root: Path) -> Dataset:
    """Finds the images of a data set.

    Three layouts are known: a folder per class; a folder per split with a folder per class in
    each; and images that lie in no class folder at all (unlabelled).

    Raises:
        DatasetError: no such folder, or no image in it.
    """
    root = Path(root)
    if not root.exists():
        raise DatasetError(
            f"There is no such folder. Expected a folder of images. Received: {root}\n"
            "Check the path; `cli.py fetch digits` makes a small data set to try."
        )
    if not root.is_dir():
        raise DatasetError(
            f"This is a file. Expected a folder of images. Received: {root}\n"
            "Put the images in a folder per class and name the folder above them."
        )
    passed_over: Counter = Counter()
    notes: list[str] = []
    split_folders = _find_split_folders(root, notes)
    found: list[_Found] = []
    if split_folders:
        for folder, split in split_folders:
            found += _collect_classes(root, folder, split, passed_over, notes)
    else:
        found = _collect_classes(root, root, NO_SPLIT, passed_over, notes)
    if not found:
        raise DatasetError(_describe_empty(root, passed_over))
    for kind, count in sorted(passed_over.items()):
        notes.append(f"Passed over {count:,} {kind}.")
    return _to_dataset(root, found, notes)


def expand_images(paths: Iterable[Path]) -> list[Path]:
    """Files as they are, folders as all images in them and below, sorted.

    Raises:
        DatasetError: there is no such file, or no image in a folder.
    """
    images: list[Path] = []
    for path in paths:
        if not path.exists():
            raise DatasetError(
                f"There is no such file or folder. Expected images. Received: {path}"
            )
        if path.is_dir():
            passed_over: Counter = Counter()
            found = [inner for inner, _ in _walk_images(path, path, passed_over)]
            if not found:
                raise DatasetError(_describe_empty(path, passed_over))
            images += [path / inner for inner in sorted(found, key=os.fsencode)]
        else:
            images.append(path)
    return images


def _to_dataset(root: Path, found: list[_Found], notes: list[str]) -> Dataset:
    found.sort(key=lambda image: os.fsencode(image.path))
    class_names = sorted({image.class_name for image in found if image.class_name is not None})
    index = {name: label for label, name in enumerate(class_names)}
    return Dataset(
        root=root,
        paths=[image.path for image in found],
        labels=np.array([index.get(image.class_name, UNLABELLED) for image in found], np.int32),
        splits=np.array([image.split for image in found], np.int8),
        sizes=np.array([image.size for image in found], np.int64),
        mtimes=np.array([image.mtime for image in found], np.int64),
        class_names=class_names,
        notes=notes,
    )


def _find_split_folders(root: Path, notes: list[str]) -> list[tuple[Path, int]]:
    """The split folders of `root`, or none where its folders are classes.

    A class may be called `train` too, so all folders with classes in them must be named like
    splits, and one of them like the training split.
    """
    named, others = [], []
    for folder in _subfolders(root):
        split = _split_of_name(folder.name)
        inner = _undouble(folder)
        if split is not None and _subfolders(inner):
            named.append((inner, split))
        elif _subfolders(folder) or split is None:
            others.append(folder)
        else:
            notes.append(f"Left out {folder.name}/: no class folders in it.")
    with_classes = [folder for folder in others if _subfolders(_undouble(folder))]
    if with_classes or not any(split == 0 for _, split in named):
        notes.clear()
        return []
    for folder in others:
        notes.append(f"Left out {folder.name}/: not a split, and no class folders in it.")
    return named


def _split_of_name(name: str) -> int | None:
    """`seg_train` -> 0, `training_set` -> 0, `validation` -> 1, `daisy` -> None."""
    words = re.split(r"[^a-z]+", name.lower())
    splits = {_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS}
    return splits.pop() if len(splits) == 1 else None


def _undouble(folder: Path) -> Path:
    """`seg_train/seg_train/` as Kaggle's archives unpack -> the inner one."""
    inner = folder / folder.name
    return inner if inner.is_dir() and _subfolders(folder) == [inner] else folder


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir() and not _is_hidden(entry.name)]
    return [folder / name for name in sorted(names)]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in {"__MACOSX", "Thumbs.db", "desktop.ini"}


def _collect_classes(
    root: Path, folder: Path, split: int, passed_over: Counter, notes: list[str]
) -> list[_Found]:
    """Images below `folder`; the first level of folders is the class."""
    found = []
    class_folders = _subfolders(folder)
    for class_folder in class_folders:
        images = [
            _Found(path, stat.st_size, stat.st_mtime_ns, class_folder.name, split)
            for path, stat in _walk_images(root, class_folder, passed_over)
        ]
        found += images
        if not images:
            name = class_folder.relative_to(root).as_posix()
            notes.append(f"Left out {name}/: no images in it.")
    loose = list(_images_in(root, folder, passed_over))
    if found and loose:
        place = folder.relative_to(root).as_posix()
        passed_over[f"images outside the class folders, in {place}/"] += len(loose)
        return found
    unlabelled = [_Found(path, s.st_size, s.st_mtime_ns, None, split) for path, s in loose]
    return found or unlabelled


def _walk_images(
    root: Path, folder: Path, passed_over: Counter, above: frozenset[str] = frozenset()
) -> Iterator[tuple[str, os.stat_result]]:
    """Images in `folder` and below; a link that leads back up is not followed again."""
    real = os.path.realpath(folder)
    if real in above:
        passed_over["links that lead back to a folder above them"] += 1
        return
    yield from _images_in(root, folder, passed_over)
    for inner in _subfolders(folder):
        yield from _walk_images(root, inner, passed_over, above | {real})


def _images_in(
    root: Path, folder: Path, passed_over: Counter
) -> Iterator[tuple[str, os.stat_result]]:
    """(path relative to `root`, stat) of the candidate images that lie in `folder` itself."""
    prefix = folder.relative_to(root).as_posix()
    prefix = "" if prefix == "." else prefix + "/"
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_hidden(entry.name):
                if not entry.is_dir():
                    passed_over["hidden files"] += 1
                continue
            if entry.is_dir():
                continue
            if not entry.is_file():
                passed_over["broken links and special files"] += 1
                continue
            extension = PurePath(entry.name).suffix.lower()
            if extension in _IMAGE_EXTENSIONS or (
                extension not in _OTHER_EXTENSIONS and _starts_like_image(folder / entry.name)
            ):
                yield prefix + entry.name, entry.stat()
            else:
                passed_over[f"{extension or 'unnamed'} files, which are not images"] += 1


def _starts_like_image(path: Path) -> bool:
    with path.open("rb") as file:
        start = file.read(12)
    return start.startswith(_IMAGE_STARTS) or start[4:8] == b"ftyp"


def _describe_empty(root: Path, passed_over: Counter) -> str:
    if passed_over:
        seen = ", ".join(f"{count:,} {kind}" for kind, count in sorted(passed_over.items()))
        seen = f"it holds {seen}"
    elif any(root.iterdir()):
        seen = "its folders hold no files"
    else:
        seen = "it is empty"
    return (
        f"No images in this folder: {seen}. Expected a folder per class with images in it. "
        f"Received: {root}\nCheck the path, or unpack the archive first."
    )
