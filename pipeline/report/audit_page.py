"""The page of an audit: what is doubtful, with boxes to mend it, and `fix.csv` that it saves."""

import hashlib
from typing import Any

from pipeline.report.contents import AuditContents
from pipeline.report.image_columns import to_columns
from pipeline.report.page_frame import fill_page

_STYLES = ("base", "images", "audit")
_SCRIPTS = ("page", "tip", "thumbnails", "pager", "dialogs", "fix_csv", "audit")


def draw_audit_page(contents: AuditContents) -> str:
    """The page of an audit, HTML.

    Args:
        contents: all that it says; names in it may be anything.
    """
    data: dict[str, Any] = {
        "key": _identify(contents),
        "class_names": contents.class_names,
        "images": to_columns(contents.images),
        "sheets": contents.sheets,
        "groups": contents.groups,
        "table": contents.table,
        "rows": contents.rows,
        "labels": contents.labels,
    }
    return fill_page("audit.html.j2", contents, data, _STYLES, _SCRIPTS)


def _identify(contents: AuditContents) -> str:
    """Under what the browser keeps decisions: another table is another audit's."""
    identity = hashlib.sha256()
    for row in contents.table:
        identity.update("\0".join(row).encode("utf-8", "surrogatepass") + b"\1")
    return identity.hexdigest()[:32]
