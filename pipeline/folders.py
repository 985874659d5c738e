"""Finds images in folders: a folder per class, split folders with class folders, or neither.

Looks at names and `stat` only; of an image it never reads a byte, except the first of files
without an extension: those are candidates unless they are text. Links are followed.
`docs/images.md` lists every outcome.
"""

import codecs
import os
from collections.abc import Iterator
from pathlib import Path, PurePath

from pipeline.found import NO_SPLIT, Findings, FoundImage, split_of_name

# What Frostline leaves in a folder that it unpacked an archive to.
ARCHIVE_NOTE = ".frostline-archive.json"

_SYSTEM_NAMES = {
    *("__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "lost+found"),
    *("$RECYCLE.BIN", "System Volume Information"),
}
_OTHER_EXTENSIONS = frozenset(
    ".txt .md .rst .csv .tsv .json .jsonl .xml .html .htm .yaml .yml .ini .cfg .toml .log .db "
    ".py .ipynb .m .mat .npy .npz .h5 .hdf5 .pkl .zip .tar .gz .tgz .7z .rar .pdf .doc .docx "
    ".xls .xlsx .ppt .pptx .exe .sh .bat .mp3 .wav .mp4 .mov .avi .sha256 .md5 .lnk .url".split()
)
_TEXT_CONTROLS = b"\t\n\f\r\x1b"
_START_BYTES = 512


def find_labelled_images(root: Path, class_depth: int) -> Findings:
    """Images below `root` with their classes and given splits.

    Args:
        class_depth: how many folders below the root (or a split folder) the classes are; images
            further down belong to the class above them.
    """
    findings = Findings()
    split_folders = _find_split_folders(root, findings)
    for folder, split in split_folders or [(root, NO_SPLIT)]:
        _collect_classes(root, folder, split, class_depth, findings)
    return findings


def find_images(root: Path) -> Findings:
    """All images below `root`, without class or split."""
    findings = Findings()
    for path, stat in _walk_images(root, root, findings):
        findings.images.append(_to_found(path, stat, None, NO_SPLIT))
    return findings


def _find_split_folders(root: Path, findings: Findings) -> list[tuple[Path, int]]:
    """The split folders of `root`, or none where its folders are classes.

    A class may be called `train` too, so all folders with classes in them must be named like
    splits, and one of them like the training split.
    """
    named, others, notes = [], [], []
    for folder in _subfolders(root, findings):
        split = split_of_name(folder.name)
        inner = _undouble(folder)
        if split is not None and _subfolders(inner):
            named.append((inner, split))
        elif _subfolders(folder) or split is None:
            others.append(folder)
        else:
            notes.append(f"Left out {folder.name}/: no class folders in it.")
    with_classes = [folder for folder in others if _subfolders(_undouble(folder))]
    if with_classes or not any(split == 0 for _, split in named):
        return []
    for folder in others:
        notes.append(f"Left out {folder.name}/: not a split, and no class folders in it.")
    findings.notes += notes
    return named


def _undouble(folder: Path) -> Path:
    """`seg_train/seg_train/` as Kaggle's archives unpack -> the inner one."""
    inner = folder / folder.name
    return inner if inner.is_dir() and _subfolders(folder) == [inner] else folder


def _collect_classes(
    root: Path, folder: Path, split: int, class_depth: int, findings: Findings
) -> None:
    found = []
    for class_folder in _folders_at(folder, class_depth):
        name = class_folder.relative_to(folder).as_posix()
        images = [
            _to_found(path, stat, name, split)
            for path, stat in _walk_images(root, class_folder, findings)
        ]
        found += images
        if not images:
            place = class_folder.relative_to(root).as_posix()
            findings.notes.append(f"Left out {place}/: no images in it.")
    for depth in range(class_depth):
        for place in _folders_at(folder, depth):
            loose = list(_images_in(root, place, findings))
            if found or class_depth > 1:
                kind = f"images outside the class folders, in {place.relative_to(root).as_posix()}/"
                findings.passed_over.update({kind: len(loose)} if loose else {})
            else:
                found += [_to_found(path, stat, None, split) for path, stat in loose]
    findings.images += found


def _folders_at(folder: Path, depth: int) -> Iterator[Path]:
    """The folders so many levels below `folder`."""
    if depth == 0:
        yield folder
        return
    for inner in _subfolders(folder):
        yield from _folders_at(inner, depth - 1)


def _walk_images(
    root: Path, folder: Path, findings: Findings, above: frozenset[str] = frozenset()
) -> Iterator[tuple[str, os.stat_result]]:
    """Images in `folder` and below; a link that leads back up is not followed again."""
    real = os.path.realpath(folder)
    if real in above:
        findings.passed_over["links that lead back to a folder above them"] += 1
        return
    yield from _images_in(root, folder, findings)
    for inner in _subfolders(folder, findings):
        yield from _walk_images(root, inner, findings, above | {real})


def _subfolders(folder: Path, findings: Findings | None = None) -> list[Path]:
    """The folders in `folder`, sorted; one that cannot be listed has none, and is noted."""
    names = [entry.name for entry in _list(folder, findings) if _is_dir(entry)]
    return [folder / name for name in sorted(names) if not is_hidden(name)]


def _list(folder: Path, findings: Findings | None) -> list[os.DirEntry]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        if findings is not None:
            findings.notes.append(f"Left out {folder}/: it cannot be listed: {error.strerror}.")
        return []


def _is_dir(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the data set's: hidden, or an operating system's own."""
    return name.startswith(".") or name in _SYSTEM_NAMES


def _images_in(
    root: Path, folder: Path, findings: Findings
) -> Iterator[tuple[str, os.stat_result]]:
    """(path relative to `root`, stat) of the candidate images that lie in `folder` itself."""
    prefix = folder.relative_to(root).as_posix()
    prefix = "" if prefix == "." else prefix + "/"
    for entry in _list(folder, None):
        kind = find_reason_to_pass(entry)
        if kind is None:
            yield prefix + entry.name, entry.stat()
        elif kind:
            findings.passed_over[kind] += 1


def find_reason_to_pass(entry: os.DirEntry) -> str | None:
    """Why an entry of a folder is not a candidate image; empty for what is not worth a word."""
    try:
        is_folder, is_file = entry.is_dir(), entry.is_file()
        if is_hidden(entry.name):
            kind = "hidden folders" if is_folder else "hidden files"
            return "" if entry.name == ARCHIVE_NOTE else kind
        if not is_file:
            return "" if is_folder else "broken links and special files"
        entry.stat()
        return None if _may_be_image(entry) else _describe_other_file(entry)
    except OSError:
        return "files that vanished or cannot be read"


def _may_be_image(entry: os.DirEntry) -> bool:
    """Whether a file should end as a row or as a reason."""
    extension = PurePath(entry.name).suffix.lower()
    if not extension:
        return not _is_text(Path(entry.path))
    return extension not in _OTHER_EXTENSIONS


def _describe_other_file(entry: os.DirEntry) -> str:
    extension = PurePath(entry.name).suffix.lower()
    return f"{extension or 'unnamed'} files, which are not images"


def _is_text(path: Path) -> bool:
    """Whether a file begins like a README: UTF-8 without control characters, or nothing at all."""
    with path.open("rb") as file:
        start = file.read(_START_BYTES)
    if any(byte < 32 and byte not in _TEXT_CONTROLS for byte in start):
        return False
    try:  # the last character may be cut
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return True


def _to_found(path: str, stat: os.stat_result, class_name: str | None, split: int) -> FoundImage:
    return FoundImage(path, stat.st_size, stat.st_mtime_ns, class_name, split)
