"""What an audit says of near duplicates."""

import numpy as np

from pipeline.heads.audit.audited_rows import AuditedRows
from pipeline.heads.audit.issues import DataFinding, Issue
from pipeline.heads.audit.near_duplicates.calibrate import Limits
from pipeline.heads.audit.near_duplicates.find import NearDuplicates
from pipeline.images.splits import NO_SPLIT, UNLABELLED
from pipeline.system.printable import count

KIND = "near duplicate"
_N_RELATED = 3


def find_near_duplicates(rows: AuditedRows) -> tuple[list[Issue], list[DataFinding]]:
    """An issue for each image of a group but its first, and one finding."""
    found = rows.near_duplicates
    if found is None or not found.groups:
        return [], []
    issues = []
    likeness: dict[int, float] = {}
    for pair in found.pairs:
        for row in (pair.one, pair.other):
            likeness[row] = max(likeness.get(row, 0.0), pair.likeness)
    for members in found.groups:
        differ = _count_different(rows.labels, members, UNLABELLED) > 1
        for place, row in enumerate(members):
            others = [other for other in members[: _N_RELATED + 1] if other != row][:_N_RELATED]
            if differ:
                advice = "its labels differ: decide"
            elif place:
                advice = "keep on one side of the split"
            else:
                continue
            issues.append(Issue(row, KIND, min(1.0, likeness.get(row, 1.0)), advice, others))
    issues.sort(key=lambda issue: -issue.score)
    return issues, [_describe(rows, found)]


def _count_different(values: np.ndarray, members: list[int], none: int) -> int:
    return len({int(values[row]) for row in members} - {none})


def _describe(rows: AuditedRows, found: NearDuplicates) -> DataFinding:
    members = [row for group in found.groups for row in group]
    n_given = sum(_count_different(rows.given_splits, one, NO_SPLIT) > 1 for one in found.groups)
    n_made = sum(_count_different(rows.splits, one, NO_SPLIT) > 1 for one in found.groups) - n_given
    n_labels = sum(_count_different(rows.labels, one, UNLABELLED) > 1 for one in found.groups)
    heading = f"{count(len(found.groups), 'group')} of near duplicates"
    text = (
        "The same picture, changed: smaller, compressed, cropped, brighter, mirrored, or the next "
        "of a series."
    )
    if n_given:
        text += (f" {count(n_given, 'group')} in more than one of the splits that the source "
                 "gives, so scores flatter.")  # fmt: skip
    if n_made > 0:
        text += (f" {count(n_made, 'group')} would be divided between the splits that are made; "
                 "`frostline.fit_head(FEATURES)` keeps each together from now on.")  # fmt: skip
    if n_labels:
        text += f" {count(n_labels, 'group')} with more than one label."
    return DataFinding(KIND, heading, f"{text} {_describe_limits(found)}", members, len(members))


def _describe_limits(found: NearDuplicates) -> str:
    limits = found.limits
    return " ".join(filter(None, [_describe_reach(limits), _describe_limit(limits), _cut(found)]))


def _describe_reach(limits: Limits) -> str:
    if limits.reason:
        return (
            "The backbone could not be asked how near changed copies are "
            f"({limits.reason.rstrip('.')}), so the pictures of the five nearest images of each "
            "were compared."
        )
    shares = ", ".join(f"{name} {share:.0%}" for name, share in limits.found.items())
    return (
        f"Of {count(limits.n_originals, 'image')} changed copies were made; so many of them would "
        f"be found: {shares}."
    )


def _describe_limit(limits: Limits) -> str:
    if not limits.n_others:
        return (
            "There are too few images to learn from when pictures are too much alike to be two: "
            f"the limit is {limits.likeness:.2f}, as ever."
        )
    return (
        f"Pictures count as one from a likeness of {limits.likeness:.2f}; by "
        f"{limits.n_others:,} pairs of other near images, fewer than one in 10,000 different "
        "pairs is so alike."
    )


def _cut(found: NearDuplicates) -> str:
    n_more = found.n_candidates - found.n_compared
    return f"{n_more:,} more pairs were near, and were not compared." if n_more else ""
