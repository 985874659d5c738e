"""What people should know of a data set: what was passed over, what looks like a mistake, and how
images without classes might get some.
"""

import unicodedata
from collections import defaultdict
from difflib import get_close_matches
from pathlib import Path

from pipeline.images.sources.csv_list import SUFFIXES
from pipeline.images.sources.findings import Findings
from pipeline.images.sources.path_labels import suggest_pattern
from pipeline.system.paths import is_file
from pipeline.system.printable import printable

_N_NOTES_SHOWN = 5
_N_FOLDERS_SHOWN = 3
_FEW = 3  # images of a class whose name may be a slip of the pen
_MANY_MORE = 5  # times as many has the class that was meant, at least
_MOST_SMALL = 20  # more than so many small classes are no slips
_ALIKE = 0.75  # as difflib measures it; `cat` and `cats` have 0.86, `dgos` and `dogs` 0.75
# The first that fits counts: a folder's name may stand at the end of what is outside of it.
_SINGULARS = {
    "images outside": "image outside",
    "images without a line": "image without a line",
    "files, which are not images": "file, which is not an image",
    "files that": "file that",
    "hidden files": "hidden file",
    "hidden folders": "hidden folder",
    "broken links and special files": "broken link or special file",
    "links that lead back to a folder above them": "link that leads back to a folder above it",
    "lines that repeat": "line that repeats",
}


def advise(source: Path, paths: list[str], class_names: list[str]) -> list[str]:
    """How images might get classes, where there are none to tell apart.

    Args:
        paths: of the images, relative to the data set's root.
        class_names: none, or one.
    """
    if is_file(source):
        return [] if class_names else ["A column that is called label gives images a class."]
    hint = suggest_pattern(paths)
    if not class_names:
        hint = hint or "If their names tell the class, `label_from=REGEX` takes it from there."
        lists = sorted(path for path in source.iterdir() if path.suffix.lower() in SUFFIXES)
        if lists:
            hint += f" If {printable(str(lists[0]))} lists their classes, name that instead."
        return [f"They lie in no class folders. {hint}"]
    (only,) = class_names
    found = _find_folders_in(only, paths)
    if len(found) > 1:
        shown = ", ".join(map(printable, found[:_N_FOLDERS_SHOWN]))
        more = len(found) - _N_FOLDERS_SHOWN
        hint = (
            f"The folders in it are {shown}{f' and {more:,} more' if more > 0 else ''}: if these "
            "are the classes, say `class_depth=2`."
        )
    return [f"There is only one class, {printable(only)!r}. {hint}".rstrip()]


def _find_folders_in(class_name: str, paths: list[str]) -> list[str]:
    """Names of the folders in the folder of a class, sorted."""
    found = set()
    for path in paths:
        *folders, _ = path.split("/")
        if class_name in folders:
            found.update(folders[folders.index(class_name) + 1 :][:1])
    return sorted(found)


def note_passed_over(findings: Findings) -> list[str]:
    """Says what was passed over, a sentence for each kind."""
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


def note_lookalikes(class_names: list[str]) -> list[str]:
    """Says which classes people will take for one: `Cat` and `cat`, or one name spelt in two ways
    of Unicode.
    """
    alike = defaultdict(list)
    for name in class_names:
        alike[_fold(name)].append(name)
    return [
        f"{' and '.join(map(repr, names))} are two classes, though their names differ in case, "
        "spaces or Unicode spelling only. Rename one if they are meant to be the same."
        for names in alike.values()
        if len(names) > 1
    ]


def note_typos(class_names: list[str], counts: list[int]) -> list[str]:
    """Says which classes of a few images are called almost like a large one: `dgos` and `dogs`.

    Names that differ in digits alone are numbers of classes.

    Args:
        counts: images of each class.
    """
    small = [name for name, n in zip(class_names, counts, strict=True) if n <= _FEW]
    large = [name for name, n in zip(class_names, counts, strict=True) if n >= _MANY_MORE * _FEW]
    if len(small) > _MOST_SMALL:
        return []
    count_of = dict(zip(class_names, counts, strict=True))
    notes = []
    for name in small:
        for other in get_close_matches(name, large, n=1, cutoff=_ALIKE):
            if _without_digits(name) != _without_digits(other) and not _is_one_name(name, other):
                n = count_of[name]
                notes.append(
                    f"Class {printable(name)!r} has {n} image{'' if n == 1 else 's'}. Did you mean "
                    f"{printable(other)!r}, which has {count_of[other]:,}?"
                )
    return notes


def _without_digits(name: str) -> str:
    return "".join(letter for letter in name if not letter.isdecimal())


def _is_one_name(name: str, other: str) -> bool:
    """Whether `note_lookalikes` has said it already."""
    return _fold(name) == _fold(other)


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()


def describe_empty(
    source: Path, findings: Findings, class_depth: int = 1, *, is_labelled: bool = True
) -> str:
    """The message for a data set without an image, or where labels are not asked for, a folder."""
    if findings.passed_over:
        counts = sorted(findings.passed_over.items())
        seen = "it holds " + ", ".join(f"{count:,} {kind}" for kind, count in counts)
    elif is_file(source):
        seen = "it has a header and no lines"
    else:
        seen = _describe_contents(source)
    if is_file(source):
        expected, way_out = "a line for each image", "Write a line for each image below the first."
    elif is_labelled:
        depth = f", {class_depth} levels down (`class_depth={class_depth}`)"
        expected = f"a folder per class with images in it{depth if class_depth > 1 else ''}"
        way_out = "Check the path; an archive is unpacked by `frostline.fetch(ARCHIVE)`."
    else:
        expected, way_out = "images in it, or in folders in it", "Check the path."
    return "\n".join(
        [
            f"No images in this data set: {seen}. Expected {expected}. Received: {source}",
            *findings.notes[:_N_NOTES_SHOWN],
            way_out,
        ]
    )


def _describe_contents(folder: Path) -> str:
    try:
        return "its folders hold no files" if any(folder.iterdir()) else "it is empty"
    except OSError as error:
        return f"it cannot be listed: {error.strerror}"
