"""Finds images in folders: a folder per class, split folders with class folders, or neither.

Looks at names and `stat`; `candidates.py` says which files may be images. Links are followed.
`docs/images.md` lists every outcome.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from pipeline.images.sources.candidates import find_reason_to_pass, is_hidden
from pipeline.images.sources.findings import Findings, FoundImage
from pipeline.images.splits import NO_SPLIT, split_of_name
from pipeline.system.printable import printable

_TRAIN = 0
_LEADS_BACK = "links that lead back to a folder above them"


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
    """The split folders of `root`, or none where its folders are classes."""
    folders = _subfolders(root, findings)
    splits = ((folder, split_of_name(folder.name)) for folder in folders)
    split_of = {folder: split for folder, split in splits if split is not None}
    if not split_of:
        return []
    looked = Findings()
    holding = [folder for folder in folders if _holds_images(root, folder, looked)]
    classes_of = {folder: _name_classes(root, _undouble(folder)) for folder in holding}
    odd = {folder: names for folder, names in classes_of.items() if folder not in split_of}
    named = {folder: names for folder, names in classes_of.items() if folder not in odd}
    labelled = [folder for folder, names in named.items() if names]
    has_train = any(split_of[folder] == _TRAIN for folder in labelled)
    if not _are_splits(named, odd, has_train=has_train):
        return []
    chosen = labelled or list(named)
    why = {
        **dict.fromkeys(folders, "no images in it"),
        **dict.fromkeys(named, "no class folders in it"),
        **dict.fromkeys(odd, "its name is not that of a split (train, val, test)"),
    }
    for folder in folders:
        if folder not in chosen:
            findings.notes.append(f"Left out {printable(folder.name)}/: {why[folder]}.")
    findings.notes += looked.notes
    n_loose = sum(1 for _ in _images_in(root, root, findings))
    if n_loose:
        findings.passed_over["images outside the split folders"] = n_loose
    return [(_undouble(folder), split_of[folder]) for folder in chosen]


def _are_splits(named: dict[Path, set[str]], odd: dict[Path, set[str]], *, has_train: bool) -> bool:
    """Whether folders named like splits are splits: a class may be called `train` too.

    They are if no other folder holds images. Beside others they are if several of them hold class
    folders, or if the training split does and the others hold none, or one the same classes.
    """
    if not odd:
        return bool(named)
    labelled = [names for names in named.values() if names]
    others = [names for names in odd.values() if names]
    if not others:
        return has_train
    return len(labelled) > 1 or (has_train and len(others) == 1 and bool(labelled[0] & others[0]))


def _undouble(folder: Path) -> Path:
    """`seg_train/seg_train/` as Kaggle's archives unpack -> the inner one."""
    inner = folder / folder.name
    return inner if _subfolders(folder) == [inner] else folder


def _name_classes(root: Path, folder: Path) -> set[str]:
    return {inner.name for inner in _subfolders(folder) if _holds_images(root, inner, Findings())}


def _holds_images(root: Path, folder: Path, looked: Findings) -> bool:
    """Whether there is an image in a folder or below; if not, notes what could not be listed."""
    seen = Findings()
    if next(_walk_images(root, folder, seen), None) is not None:
        return True
    looked.notes += [note for note in seen.notes if note not in looked.notes]
    return False


def _collect_classes(
    root: Path, folder: Path, split: int, class_depth: int, findings: Findings
) -> None:
    found = []
    for class_folder in _folders_at(root, folder, class_depth, findings):
        name = class_folder.relative_to(folder).as_posix()
        n_notes = len(findings.notes)
        images = [
            _to_found(path, stat, name, split)
            for path, stat in _walk_images(root, class_folder, findings)
        ]
        found += images
        if not images and len(findings.notes) == n_notes:
            place = class_folder.relative_to(root).as_posix()
            findings.notes.append(f"Left out {printable(place)}/: no images in it.")
    for depth in range(class_depth):
        for above in _folders_at(root, folder, depth, Findings()):  # its links were counted
            loose = list(_images_in(root, above, findings))
            if found or class_depth > 1:
                shown = printable(above.relative_to(root).as_posix())
                kind = f"images outside the class folders, in {shown}/"
                findings.passed_over.update({kind: len(loose)} if loose else {})
            else:
                found += [_to_found(path, stat, None, split) for path, stat in loose]
    findings.images += found


def _folders_at(
    root: Path, folder: Path, depth: int, findings: Findings, above: frozenset[str] | None = None
) -> Iterator[Path]:
    """The folders so many levels below `folder`; links are followed as `_walk_images` does."""
    if above is None:
        above = _find_folders_above(root, folder)
    real = os.path.realpath(folder)
    if real in above:
        findings.passed_over[_LEADS_BACK] += 1
    elif depth == 0:
        yield folder
    else:
        for inner in _subfolders(folder):
            yield from _folders_at(root, inner, depth - 1, findings, above | {real})


def _walk_images(
    root: Path, folder: Path, findings: Findings, above: frozenset[str] | None = None
) -> Iterator[tuple[str, os.stat_result]]:
    """Images in `folder` and below; a link that leads to a folder above it is not followed.

    Args:
        above: real paths of the folders above; None = those between the root and `folder`, and
            all above the two. To follow a link there would give its images another class.
    """
    if above is None:
        above = _find_folders_above(root, folder)
    real = os.path.realpath(folder)
    if real in above:
        findings.passed_over[_LEADS_BACK] += 1
        return
    yield from _images_in(root, folder, findings)
    for inner in _subfolders(folder, findings):
        yield from _walk_images(root, inner, findings, above | {real})


def _find_folders_above(root: Path, folder: Path) -> frozenset[str]:
    between = [os.path.realpath(root / place) for place in folder.relative_to(root).parents]
    real = [Path(os.path.realpath(place)) for place in (root, folder)]
    return frozenset([*between, *(str(parent) for place in real for parent in place.parents)])


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
            shown = printable(str(folder))
            findings.notes.append(f"Left out {shown}/: it cannot be listed: {error.strerror}.")
        return []


def _is_dir(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


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


def _to_found(path: str, stat: os.stat_result, class_name: str | None, split: int) -> FoundImage:
    return FoundImage(path, stat.st_size, stat.st_mtime_ns, class_name, split)
