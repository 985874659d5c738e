"""Walks through folders of images: follows links, but none that leads back up.

Looks at names and `stat`; `candidates.py` says which files may be images.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.images.sources.candidates import find_reason_to_pass, is_hidden
from pipeline.images.sources.findings import Findings
from pipeline.system.printable import printable

_LEADS_BACK = "links that lead back to a folder above them"


@dataclass(frozen=True)
class _Place:
    """A folder on the way.

    Args:
        folder: as it was come to.
        real: the same without links.
        above: the real paths of all folders above it.
    """

    folder: Path
    real: str
    above: frozenset[str]

    def list_inner(self, findings: Findings | None = None) -> list["_Place"]:
        above = self.above | {self.real}
        return [
            _Place(inner, _resolve(inner, self.real), above)
            for inner in list_subfolders(self.folder, findings)
        ]


def walk_images(
    root: Path, folder: Path, findings: Findings
) -> Iterator[tuple[str, os.stat_result]]:
    """Images in `folder` and below: (path relative to the root, stat).

    A link that leads to a folder above it, or above the root, is not followed, since that would
    give its images another class.
    """
    waiting = [_start(root, folder)]
    while waiting:  # no recursion: folders may lie deeper in each other than Python's stack is
        place = waiting.pop()
        if place.real in place.above:
            findings.passed_over[_LEADS_BACK] += 1
            continue
        yield from images_in(root, place.folder, findings)
        waiting += reversed(place.list_inner(findings))


def holds_images(root: Path, folder: Path, looked: Findings) -> bool:
    """Whether there is an image in a folder or below; if not, notes what could not be listed."""
    seen = Findings()
    if next(walk_images(root, folder, seen), None) is not None:
        return True
    looked.notes += [note for note in seen.notes if note not in looked.notes]
    return False


def list_levels(root: Path, folder: Path, depth: int, findings: Findings) -> list[list[Path]]:
    """The folder itself, those in it, those in these and so on, `depth` times or until there are
    none; links are followed as `walk_images` does.
    """
    level = [_start(root, folder)]
    levels = []
    for number in range(depth + 1):
        there = [place for place in level if place.real not in place.above]
        if len(there) < len(level):
            findings.passed_over[_LEADS_BACK] += len(level) - len(there)
        if not there:
            break
        levels.append([place.folder for place in there])
        if number < depth:
            level = [inner for place in there for inner in place.list_inner()]
    return levels


def list_subfolders(folder: Path, findings: Findings | None = None) -> list[Path]:
    """The folders in `folder`, sorted; one that cannot be listed has none, and is noted."""
    names = [entry.name for entry in _list(folder, findings) if _is_dir(entry)]
    return [folder / name for name in sorted(names) if not is_hidden(name)]


def images_in(root: Path, folder: Path, findings: Findings) -> Iterator[tuple[str, os.stat_result]]:
    """(path relative to `root`, stat) of the candidate images that lie in `folder` itself."""
    prefix = folder.relative_to(root).as_posix()
    prefix = "" if prefix == "." else prefix + "/"
    for entry in _scan(folder):
        findings.on_look()
        kind = find_reason_to_pass(entry)
        if kind is None:
            yield prefix + entry.name, entry.stat()
        elif kind:
            findings.passed_over[kind] += 1


def _start(root: Path, folder: Path) -> _Place:
    """Where a walk begins; above it are the folders from the root on, and all above the two."""
    place, real = root, os.path.realpath(root)
    above = {str(parent) for parent in Path(real).parents}
    for part in folder.relative_to(root).parts:
        above.add(real)
        place = place / part
        real = _resolve(place, real)
    above.update(str(parent) for parent in Path(real).parents)
    return _Place(folder, real, frozenset(above))


def _resolve(inner: Path, real_outer: str) -> str:
    """The real path of a folder in one whose real path is known.

    To resolve every part of every path again takes a minute where folders lie 1,000 deep.
    """
    return os.path.realpath(inner) if inner.is_symlink() else str(Path(real_outer, inner.name))


def _list(folder: Path, findings: Findings | None) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        if findings is not None:
            shown = printable(str(folder))
            findings.notes.append(f"Left out {shown}/: it cannot be listed: {error.strerror}.")
        return []


def _scan(folder: Path) -> Iterator[os.DirEntry[str]]:
    """The entries one by one, since each holds its `stat`; none where it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except OSError:
        return


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False
