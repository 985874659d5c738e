"""Labels that stand in the paths of images, as in `cat.0.jpg`: taken out by a pattern, or guessed
at so that the pattern can be offered.
"""

import os
import re
from collections import Counter

from pipeline.errors import ParameterError
from pipeline.images.sources.findings import Findings
from pipeline.system.printable import printable

# `cat.0.jpg`, `great_pyrenees_12.jpg`, `dog (3).png`: a name, a number, an extension.
USUAL_PATTERN = "([^/]+?)[ ._(-]*[0-9]+[)]?[.][^./]+$"
_N_SHOWN = 3
_CERTAIN_SHARE = 0.9  # of the images whose names the usual pattern must fit


def label_by_pattern(findings: Findings, pattern: str) -> None:
    """Gives each image the class that the pattern finds in its path, and says which have none.

    Args:
        findings: the images; their labels are replaced.
        pattern: a regular expression that is searched for in the path from the data set's root;
            the class is what its brackets hold, or without brackets all that it matches.

    Raises:
        ParameterError: it is no regular expression, has several pairs of brackets, or matches no
            path.
    """
    compiled = _compile(pattern)
    paths = findings.images.paths
    labels = [_find_label(compiled, path) for path in paths]
    if paths and not any(labels):
        raise ParameterError(
            f"The pattern finds no class in any of the {len(paths):,} paths. Expected one that "
            f"finds it in a path such as {min(paths, key=os.fsencode)!r}. "
            f"Received: `label_from={pattern!r}`",
            "label_from",
        )
    findings.images.class_names = labels
    without = [path for path, label in zip(paths, labels, strict=True) if label is None]
    if without:
        findings.notes.append(
            f"The pattern finds no class in {len(without):,} of {len(paths):,} paths, such as "
            f"{printable(without[0])}."
        )


def suggest_pattern(paths: list[str]) -> str:
    """How labels could be taken from these paths, in words; empty where that is not certain."""
    compiled = re.compile(USUAL_PATTERN)
    counts = Counter(label for path in paths if (label := _find_label(compiled, path)))
    often = [label for label, count in counts.items() if count > 1]
    if len(often) < 2 or sum(counts[label] for label in often) < _CERTAIN_SHARE * len(paths):
        return ""
    shown = ", ".join(printable(label) for label in sorted(often)[:_N_SHOWN])
    more = f" and {len(often) - _N_SHOWN:,} more" if len(often) > _N_SHOWN else ""
    return (
        f"Their names look as if they told the class ({shown}{more}): "
        f"`label_from={USUAL_PATTERN!r}` takes it from there."
    )


def _compile(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ParameterError(
            f"This is no regular expression: {error}. Expected one that finds the class in a path, "
            f"such as '([a-z]+)[0-9]+[.]jpg$'. Received: `label_from={pattern!r}`",
            "label_from",
        ) from error
    if compiled.groups > 1:
        raise ParameterError(
            "An image has one class. Expected one pair of brackets, around the class; others can "
            f"be written (?:...). Received: `label_from={pattern!r}`",
            "label_from",
        )
    return compiled


def _find_label(pattern: re.Pattern[str], path: str) -> str | None:
    found = pattern.search(path)
    return (found[pattern.groups] or None) if found else None
