"""What the page of an audit says, out of what was found: plain data, with thumbnails."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pipeline.heads.audit.audit import Audit
from pipeline.heads.audit.audited_rows import AuditedRows
from pipeline.heads.audit.issues import DataFinding, Issue
from pipeline.heads.audit.wrong_labels import KIND as WRONG_LABEL
from pipeline.images.splits import SPLITS
from pipeline.report.contents import AuditContents, AuditGroup, AuditItem, ReportImage
from pipeline.report.gathering.image_pool import ImageFile
from pipeline.report.gathering.thumbnails import make_thumbnails
from pipeline.runs.run_folder import now
from pipeline.system.printable import count, printable

MOST_BYTES = 4_950_000  # of the page, the table of all images apart
MOST_ITEMS = 400  # of a group; audit.csv has all
_LEAVE_OUT = "leave out"
_ANY_PLACE = (10, 1000)  # of a thumbnail, until it is known


@dataclass
class _Pool:
    """Gives the rows that the page shows their numbers in it."""

    rows: list[int] = field(default_factory=list)
    number_of: dict[int, int] = field(default_factory=dict)

    def number(self, row: int) -> int:
        if row not in self.number_of:
            self.number_of[row] = len(self.rows)
            self.rows.append(row)
        return self.number_of[row]


def make_audit_contents(
    rows: AuditedRows, found: Audit, count_bytes: Callable[[AuditContents], int]
) -> AuditContents:
    """The contents, with as many thumbnails as there is room for.

    Args:
        rows: that were looked at.
        found: in them.
        count_bytes: how long the page of some contents is.
    """
    pool = _Pool()
    groups = _group(rows, found, pool)
    names = rows.class_names
    table = [
        (path, names[label] if label >= 0 else "")
        for path, label in zip(rows.paths, rows.labels.tolist(), strict=True)
    ]
    contents = AuditContents(
        title=f"Audit of {printable(rows.contents.data_name)}",
        made=now(),
        summary=_summarise(rows, found),
        class_names=[printable(name) for name in names],
        images=_describe(rows, pool, dict.fromkeys(range(len(pool.rows)), _ANY_PLACE)),
        sheets=[],
        groups=groups,
        table=table,
        rows=pool.rows,
        labels=names,
        notes=[printable(note) for note in found.left_out],
    )
    return _add_pictures(contents, rows, pool, count_bytes)


def _summarise(rows: AuditedRows, found: Audit) -> list[str]:
    n_doubtful = len({issue.row for issue in found.issues})
    said = f"{count(len(rows), 'image')} of {count(len(rows.class_names), 'class')}"
    if not found.findings:
        return [f"{said}: nothing was found."]
    return [
        f"{said}, of which {count(n_doubtful, 'image')} "
        f"{'is' if n_doubtful == 1 else 'are'} doubtful.",
        "Nothing is changed by itself: tick what is right, save fix.csv, and give it to fit-head "
        "or extract, both as labels and as exclude.",
    ]


def _group(rows: AuditedRows, found: Audit, pool: _Pool) -> list[AuditGroup]:
    of_kind: dict[str, list[Issue]] = defaultdict(list)
    for issue in found.issues:
        of_kind[issue.kind].append(issue)
    label_of = {name: label for label, name in enumerate(rows.class_names)}
    groups = []
    for finding in found.findings:
        issues = of_kind.pop(finding.kind, [])  # those of a kind are shown once
        items = (
            [_make_item(issue, label_of, pool) for issue in issues[:MOST_ITEMS]]
            if issues
            else _show(finding, pool)
        )
        text = printable(" ".join(finding.text.split("\n")))
        groups.append(AuditGroup(printable(finding.heading), text, items, finding.n_rows))
    return groups


def _make_item(issue: Issue, label_of: dict[str, int], pool: _Pool) -> AuditItem:
    is_class = issue.kind == WRONG_LABEL
    return AuditItem(
        image=pool.number(issue.row),
        text="" if is_class else printable(issue.suggestion),
        suggested=label_of.get(issue.suggestion) if is_class else None,
        leave_out=not is_class and issue.suggestion.startswith(_LEAVE_OUT),
        related=[pool.number(row) for row in issue.related],
    )


def _show(finding: DataFinding, pool: _Pool) -> list[AuditItem]:
    """Images of a finding that is about no single one."""
    return [AuditItem(pool.number(row), "") for row in list(finding.rows)[:MOST_ITEMS]]


def _describe(
    rows: AuditedRows, pool: _Pool, thumbnails: dict[int, tuple[int, int]]
) -> list[ReportImage]:
    labels, splits = rows.labels.tolist(), rows.splits.tolist()
    return [
        ReportImage(
            path=printable(rows.paths[row]),
            label=labels[row] if labels[row] >= 0 else None,
            split=SPLITS[splits[row]] if splits[row] >= 0 else "",
            called=(),
            probability=(),
            thumbnail=thumbnails.get(number),
        )
        for number, row in enumerate(pool.rows)
    ]


def _add_pictures(
    contents: AuditContents,
    rows: AuditedRows,
    pool: _Pool,
    count_bytes: Callable[[AuditContents], int],
) -> AuditContents:
    """Thumbnails of the images that are to be decided on first, then of those beside them."""
    if rows.root is None:
        return replace(contents, images=_describe(rows, pool, {}))
    files = [ImageFile(rows.root / rows.paths[row], rows.digests[row].tobytes())
             for row in pool.rows]  # fmt: skip
    decided = [item.image for group in contents.groups for item in group.items]
    beside = [one for group in contents.groups for item in group.items for one in item.related]
    n_bytes = MOST_BYTES - count_bytes(replace(contents, table=[]))
    recipe = rows.contents.recipe
    made = make_thumbnails(
        files, [*decided, *beside], [], recipe, max(0, n_bytes), rows.on_progress
    )
    notes = list(contents.notes)
    if made.n_without:
        notes.append(
            f"{count(made.n_without, 'image')} have no picture here, or the page would be too "
            "large to send."
        )
    return replace(
        contents, images=_describe(rows, pool, made.places), sheets=made.sheets, notes=notes
    )
