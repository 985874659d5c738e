"""Finds images in folders: a folder per class, split folders with class folders, or neither.

`docs/images.md` lists every outcome; `walk.py` says which links are followed.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.images.sources.findings import Findings, FoundImage
from pipeline.images.sources.known_layouts import name_annotations, read_annotations, read_cub_split
from pipeline.images.sources.path_labels import label_by_pattern
from pipeline.images.sources.walk import (
    holds_images,
    images_in,
    list_levels,
    list_subfolders,
    walk_images,
)
from pipeline.images.splits import NO_SPLIT, TEST, TRAIN, split_of_name
from pipeline.system.paths import modified_ns
from pipeline.system.printable import printable

# What the one folder is called that holds all images and is no class, as in CUB and Tiny ImageNet.
_WRAPPERS = {
    *("images", "image", "imgs", "img", "jpg", "jpeg", "jpegs", "png", "jpegimages"),
    *("photos", "pictures", "data", "dataset"),
}


@dataclass(frozen=True)
class _Part:
    """A folder with class folders in it, or with images that a list beside them labels.

    Args:
        folder: where they lie.
        split: of all images in it.
        class_of: name of a file -> class, where a list says so.
    """

    folder: Path
    split: int = NO_SPLIT
    class_of: dict[str, str] = field(default_factory=dict)


def find_labelled_images(
    root: Path,
    class_depth: int = 1,
    label_from: str | None = None,
    on_look: Callable[[], None] = lambda: None,
) -> Findings:
    """Images below `root` with their classes and given splits.

    Args:
        class_depth: how many folders below the root (or a split folder) the classes are; images
            further down belong to the class above them.
        label_from: a pattern that finds the class in the path instead; see `path_labels.py`.
        on_look: called for each file.
    """
    findings = Findings(on_look=on_look)
    base = _find_base(root, findings) if class_depth == 1 else root
    parts = _find_split_folders(
        root, base, findings, with_classes=label_from is None, may_be_wrapped=class_depth == 1
    )
    for part in parts or [_Part(base)]:
        if label_from is not None:
            found = walk_images(root, part.folder, findings)
            findings.images += (_to_found(path, stat, None, part.split) for path, stat in found)
        elif part.class_of:
            _collect_listed(root, part, findings)
        else:
            _collect_classes(root, part, class_depth, findings)
    if not parts:
        _split_as_cub(root, base, findings)
    if label_from is not None:
        label_by_pattern(findings, label_from)
    return findings


def find_images(root: Path) -> Findings:
    """All images below `root`, without class or split."""
    findings = Findings()
    for path, stat in walk_images(root, root, findings):
        findings.images.append(_to_found(path, stat, None, NO_SPLIT))
    return findings


def _find_base(root: Path, findings: Findings) -> Path:
    """The folder with the classes or splits: `root`, or the one folder that holds all images."""
    base = root
    while (inner := _find_wrapped(root, base)) is not None:
        shown = printable(inner.relative_to(root).as_posix())
        findings.notes += [
            f"Left out {printable(folder.relative_to(root).as_posix())}/: no images in it."
            for folder in list_subfolders(base)
            if folder != inner
        ]
        _pass_over_loose(root, base, findings, f"images outside {shown}/")
        base = inner
    if base != root:
        findings.notes.append(f"All images lie in {shown}/, so that is no class.")
    return base


def _pass_over_loose(root: Path, folder: Path, findings: Findings, kind: str) -> None:
    """Counts the images that lie in a folder itself."""
    n_loose = sum(1 for _ in images_in(root, folder, findings))
    if n_loose:
        findings.passed_over[kind] += n_loose


def _find_wrapped(root: Path, folder: Path) -> Path | None:
    """The only folder with images in `folder`, if its name is that of no class."""
    found: Path | None = None
    for inner in list_subfolders(folder):
        if holds_images(root, inner, Findings()):
            if found is not None:
                return None
            found = inner
    if found is None:
        return None
    is_double = found.name == Path(os.path.realpath(folder)).name
    return found if is_double or found.name.lower() in _WRAPPERS else None


def _find_split_folders(
    root: Path, base: Path, findings: Findings, *, with_classes: bool, may_be_wrapped: bool
) -> list[_Part]:
    """The split folders in `base`, or none where its folders are classes.

    Args:
        with_classes: of split folders with class folders in them and without, those with.
        may_be_wrapped: class folders may lie in one folder more, as in `val/images/`.
    """
    folders = list_subfolders(base, findings)
    splits = ((folder, split_of_name(folder.name)) for folder in folders)
    split_of = {folder: split for folder, split in splits if split is not None}
    if not split_of:
        return []
    looked = Findings()
    holding = [folder for folder in folders if holds_images(root, folder, looked)]
    parts = {folder: _Part(_undouble(folder), split_of.get(folder, NO_SPLIT)) for folder in holding}
    classes_of = {folder: _name_classes(root, part) for folder, part in parts.items()}
    if may_be_wrapped:
        _unwrap(root, parts, classes_of)
    odd = {folder: names for folder, names in classes_of.items() if folder not in split_of}
    named = {folder: names for folder, names in classes_of.items() if folder not in odd}
    labelled = [folder for folder, names in named.items() if names]
    has_train = any(split_of[folder] == TRAIN for folder in labelled)
    if not _are_splits(named, odd, has_train=has_train):
        return []
    chosen = (labelled if with_classes else []) or list(named)
    why = {
        **dict.fromkeys(folders, "no images in it"),
        **dict.fromkeys(named, "no class folders in it"),
        **dict.fromkeys(odd, "its name is not that of a split (train, val, test)"),
    }
    for folder in folders:
        if folder not in chosen:
            findings.notes.append(f"Left out {printable(folder.name)}/: {why[folder]}.")
    findings.notes += looked.notes
    _pass_over_loose(root, base, findings, "images outside the split folders")
    if not with_classes:
        return [_Part(folder, split_of[folder]) for folder in chosen]
    for folder in chosen:
        _describe_part(root, folder, parts[folder], findings)
    return [parts[folder] for folder in chosen]


def _describe_part(root: Path, folder: Path, part: _Part, findings: Findings) -> None:
    """Says what lies in a split folder besides the folder with its classes."""
    place = part.folder
    while place != folder:
        place = place.parent
        shown = printable(part.folder.relative_to(root).as_posix())
        _pass_over_loose(root, place, findings, f"images outside {shown}/")
    if part.class_of:
        findings.notes.append(
            f"The classes of {printable(folder.name)}/ are those of {name_annotations(folder)}."
        )


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


def _unwrap(root: Path, parts: dict[Path, _Part], classes_of: dict[Path, set[str]]) -> None:
    """Takes `val/images/` for what it is, if no split has a class of that name among several: the
    folder with the classes, or with images that a list beside it labels, or that have no label.
    """
    real_classes = {name for names in classes_of.values() if len(names) > 1 for name in names}
    for folder, names in classes_of.items():
        (only,) = names if len(names) == 1 else ("",)
        if only.lower() in _WRAPPERS and only not in real_classes:
            inner = replace(parts[folder], folder=parts[folder].folder / only)
            classes_of[folder] = _name_classes(root, inner)
            listed = {} if classes_of[folder] else read_annotations(folder)
            if listed and set(listed.values()) <= real_classes:
                inner = replace(inner, class_of=listed)
                classes_of[folder] = set(listed.values())
            parts[folder] = inner


def _undouble(folder: Path) -> Path:
    """`seg_train/seg_train/` as Kaggle's archives unpack -> the inner one."""
    inner = folder / folder.name
    return inner if list_subfolders(folder) == [inner] else folder


def _name_classes(root: Path, part: _Part) -> set[str]:
    folders = list_subfolders(part.folder)
    return {inner.name for inner in folders if holds_images(root, inner, Findings())}


def _collect_listed(root: Path, part: _Part, findings: Findings) -> None:
    """Images that a list labels; the others are passed over."""
    for path, stat in walk_images(root, part.folder, findings):
        name = part.class_of.get(path.rpartition("/")[2])
        if name is None:
            findings.passed_over["images without a line in the list of classes beside them"] += 1
        else:
            findings.images.append(_to_found(path, stat, name, part.split))


def _collect_classes(root: Path, part: _Part, class_depth: int, findings: Findings) -> None:
    n_before = len(findings.images)
    levels = list_levels(root, part.folder, class_depth, findings)
    for class_folder in levels[class_depth] if len(levels) > class_depth else ():
        name = class_folder.relative_to(part.folder).as_posix()
        n_notes, n_images = len(findings.notes), len(findings.images)
        findings.images += (
            _to_found(path, stat, name, part.split)
            for path, stat in walk_images(root, class_folder, findings)
        )
        if len(findings.images) == n_images and len(findings.notes) == n_notes:
            place = class_folder.relative_to(root).as_posix()
            findings.notes.append(f"Left out {printable(place)}/: no images in it.")
    for above in (folder for level in levels[:class_depth] for folder in level):
        loose = list(images_in(root, above, findings))
        if len(findings.images) > n_before or class_depth > 1:
            shown = printable(above.relative_to(root).as_posix())
            kind = f"images outside the class folders, in {shown}/"
            findings.passed_over.update({kind: len(loose)} if loose else {})
        else:
            findings.images += (_to_found(path, stat, None, part.split) for path, stat in loose)


def _split_as_cub(root: Path, base: Path, findings: Findings) -> None:
    """Gives the images below `images/` the splits of CUB's list, where it lies beside that."""
    name, split_of = read_cub_split(base.parent) if base != root else ("", {})
    prefix = f"{base.relative_to(root).as_posix()}/"
    images = findings.images
    known = [split_of.get(path.removeprefix(prefix)) for path in images.paths]
    if not any(split is not None for split in known):
        return
    for row, split in enumerate(known):
        if split is not None:
            images.splits[row] = split
    findings.notes.append(
        f"Splits are those of {name}: {known.count(TRAIN):,} images for train, "
        f"{known.count(TEST):,} for test, {known.count(None):,} in no split."
    )


def _to_found(path: str, stat: os.stat_result, class_name: str | None, split: int) -> FoundImage:
    return FoundImage(path, stat.st_size, modified_ns(stat), class_name, split)
