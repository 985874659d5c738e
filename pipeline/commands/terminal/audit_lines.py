"""An audit in lines of words: each finding, and the surest of its images."""

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from pipeline.system.printable import count, printable, visible

if TYPE_CHECKING:
    from pipeline.report.write_audit import AuditIssue, AuditResult

_N_SHOWN = 5


def describe_audit(result: "AuditResult") -> dict[str, Any]:
    """Ready for JSON."""
    from pipeline.report.write_audit import describe_found

    found = describe_found(result.n_images, result.issues, result.findings, result.notes)
    return {"folder": str(result.folder), **found, "seconds": result.seconds}


def list_findings(result: "AuditResult") -> list[str]:
    """A heading for each finding, and below it the first of its images."""
    if not result.findings:
        return [f"Nothing was found in {count(result.n_images, 'image')}."]
    of_kind: dict[str, list[AuditIssue]] = defaultdict(list)
    for issue in result.issues:
        of_kind[issue.issue].append(issue)
    lines = []
    for finding in result.findings:
        lines.append(f"{finding.heading}.")
        issues = of_kind[finding.kind]
        if issues:
            lines += [f"  {_describe(issue)}" for issue in issues[:_N_SHOWN]]
            if len(issues) > _N_SHOWN:
                lines.append(f"  and {len(issues) - _N_SHOWN:,} more")
        else:
            lines += [f"  {sentence}" for sentence in finding.text.split("\n")]
    return lines


def _describe(issue: "AuditIssue") -> str:
    """A path, and what is said of it."""
    path = printable(issue.path)
    if issue.issue == "wrong label":
        return f"{path}: {visible(issue.suggestion)}?"
    if issue.issue in ("equal image", "near duplicate") and issue.related:
        return f"{path} = {printable(issue.related[0])}"
    return f"{path} ({issue.score:.2f})"
