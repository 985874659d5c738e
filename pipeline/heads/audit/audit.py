"""What is wrong with the data of a feature file: all checks, one after another. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.backbones.tuned_runs import TUNED_PREFIX
from pipeline.errors import ParameterError, SplitError
from pipeline.features.feature_file import Contents
from pipeline.features.options import SplitOptions
from pipeline.features.split_rows import divide_images
from pipeline.heads.audit.audited_rows import AuditedRows
from pipeline.heads.audit.classes.alike import find_alike_classes
from pipeline.heads.audit.classes.small import find_small_classes
from pipeline.heads.audit.classes.two_groups import find_two_groups
from pipeline.heads.audit.equal_images import find_equal
from pipeline.heads.audit.issues import DataFinding, Issue
from pipeline.heads.audit.near_duplicates.check import find_near_duplicates
from pipeline.heads.audit.outliers import find_outliers
from pipeline.heads.audit.pictures import find_odd_pictures
from pipeline.heads.audit.shortcuts import find_shortcuts
from pipeline.heads.audit.unlike_splits import find_unlike_splits
from pipeline.heads.audit.wrong_labels import find_wrong_labels
from pipeline.images.groups import find_groups, make_group_keys
from pipeline.system.printable import count, printable

Check = Callable[[AuditedRows], tuple[list[Issue], list[DataFinding]]]

# In the order in which people should read of them.
CHECKS: tuple[Check, ...] = (
    find_wrong_labels,
    find_equal,
    find_near_duplicates,
    find_shortcuts,
    find_unlike_splits,
    find_alike_classes,
    find_two_groups,
    find_small_classes,
    find_outliers,
    find_odd_pictures,
)


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Args:
        issues: of single images; those of a kind follow each other, the surest first.
        findings: about the data, the most important first.
        left_out: sentences: what could not be looked at, and why.
    """

    issues: list[Issue]
    findings: list[DataFinding]
    left_out: list[str]


def find_issues(rows: AuditedRows) -> Audit:
    """Runs all checks.

    Raises:
        ParameterError: features are not finite numbers, or all rows are equal.
    """
    issues: list[Issue] = []
    findings: list[DataFinding] = []
    for check in CHECKS:
        some, more = check(rows)
        issues += some
        findings += more
    return Audit(issues, findings, _describe_left_out(rows))


def divide_as_usual(contents: Contents, group_by: str | None) -> tuple[np.ndarray, np.ndarray]:
    """The splits that `fit_head` makes unless told otherwise, and the units that it keeps together.

    Returns:
        int8 (n_samples,), what the source says where a class is too small to be divided; and int
        (n_samples,).
    """
    digests = contents.images.digests
    keys = digests
    if group_by is not None:
        keys = make_group_keys(digests, find_groups(contents.images.paths, group_by))
    units = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    try:
        splits = divide_images(contents, SplitOptions(group_by=group_by)).splits
    except (SplitError, ParameterError):  # said of the classes by the check of small ones
        splits = contents.splits
    return splits, units


def _describe_left_out(rows: AuditedRows) -> list[str]:
    notes = []
    if rows.left_out is None:
        notes.append(
            "Labels were not looked at: that takes images of two classes or more, with labels."
        )
    elif rows.contents.recipe.backbone.startswith(TUNED_PREFIX):
        notes.append(
            "Labels that the network behind these features was fine-tuned on were not judged by "
            "others: it has learnt them, wrong ones too. Audit the features from before as well."
        )
    unseen = [(row, look) for row, look in enumerate(rows.looks) if isinstance(look, str)]
    if rows.root is None:
        notes.append(
            "Pictures were not looked at: the image files are not where they were. Say where they "
            "are now with `data=FOLDER`."
        )
    elif unseen:
        row, reason = unseen[0]
        notes.append(
            f"{count(len(unseen), 'picture')} could not be looked at, such as "
            f"{printable(rows.paths[row])}: {reason}."
        )
    near = rows.near_duplicates
    if near is not None and near.limits.reason:
        notes.append(
            "How near changed copies of an image are could not be measured, so near duplicates "
            f"were looked for among the five nearest images of each: {near.limits.reason}"
        )
    if near is not None and near.n_candidates > near.n_compared:
        notes.append(
            f"{near.n_compared:,} of {near.n_candidates:,} pairs that may be near duplicates were "
            "compared, the nearest of them."
        )
    n_unlabelled = len(rows) - len(rows.labelled)
    if n_unlabelled and rows.left_out is not None:
        notes.append(f"{count(n_unlabelled, 'image')} without a label: only the pictures count.")
    return notes
