"""Images that are there more than once, byte by byte."""

from pipeline.heads.audit.audited_rows import AuditedRows
from pipeline.heads.audit.issues import DataFinding, Issue
from pipeline.images.splits import UNLABELLED, find_equal_images
from pipeline.system.printable import count

KIND = "equal image"
_N_RELATED = 3


def find_equal(rows: AuditedRows) -> tuple[list[Issue], list[DataFinding]]:
    """Sets of equal files: all but the first of each can go; with two labels one must be wrong."""
    sets = find_equal_images(rows.digests)
    issues = []
    for members in sets:
        differ = _have_several_labels(rows, members)
        for place, row in enumerate(members):
            others = [other for other in members[: _N_RELATED + 1] if other != row]
            if differ:
                issues.append(Issue(row, KIND, 1.0, "its labels differ: decide", others))
            elif place:
                issues.append(Issue(row, KIND, 0.9, "leave out", others))
    issues.sort(key=lambda issue: -issue.score)
    if not sets:
        return [], []
    n_differ = sum(_have_several_labels(rows, members) for members in sets)
    n_across = sum(len(set(rows.given_splits[members].tolist())) > 1 for members in sets)
    text = "Files that are equal byte by byte. They always share a split that is made here."
    if n_differ:
        text += f" {count(n_differ, 'set')} of them have different labels, of which one is wrong."
    if n_across:
        text += (f" {count(n_across, 'set')} of them lie in more than one of the splits that the "
                 "source gives, so scores flatter.")  # fmt: skip
    n_pairs = sum(len(members) == 2 for members in sets)
    heading = (
        f"{count(len(sets), 'pair')} of equal images"
        if n_pairs == len(sets)
        else f"{count(len(sets), 'set')} of equal images"
    )
    finding = DataFinding(KIND, heading, text, [row for some in sets for row in some],
                          sum(map(len, sets)))  # fmt: skip
    return issues, [finding]


def _have_several_labels(rows: AuditedRows, members: list[int]) -> bool:
    return len({int(rows.labels[row]) for row in members} - {UNLABELLED}) > 1
