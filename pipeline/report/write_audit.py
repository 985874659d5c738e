"""The audit of a feature file: what is wrong with its data, in lists for people and programs."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import FeatureFileError, ParameterError, StorageError
from pipeline.features.feature_file import FeatureFile
from pipeline.features.near_duplicate_list import write_list
from pipeline.features.options import SplitOptions
from pipeline.features.sliced_rows import FeatureRows
from pipeline.heads.audit.audit import Audit, divide_as_usual, find_issues
from pipeline.heads.audit.audited_rows import AuditedRows
from pipeline.heads.fit_head import count_bytes
from pipeline.images.dataset import require_data_root
from pipeline.report.audit_contents import make_audit_contents
from pipeline.report.audit_page import draw_audit_page
from pipeline.runs.run_folder import claim_output, describe_software, new_run, now
from pipeline.system.atomic_files import write_json, write_text
from pipeline.system.csv_files import write_csv
from pipeline.system.memory import SCIPY_BYTES, require_memory
from pipeline.system.options import check_options
from pipeline.system.paths import as_path, is_folder
from pipeline.system.progress import OnProgress

FORMAT, VERSION = "frostline-audit", 1
LIST_NAME, JSON_NAME, PAGE_NAME = "audit.csv", "audit.json", "audit.html"
_MARK = (JSON_NAME, FORMAT)
COLUMNS = ("path", "issue", "score", "suggestion", "related path")


@dataclass(frozen=True)
class AuditIssue:
    """One thing that is doubtful about one image.

    Args:
        path: of the image, as the feature file has it.
        label: its class; None for none.
        issue: what, in a few words, the same for all of a kind.
        score: 0..1, the higher the surer.
        suggestion: what to do, or the class that it may be; empty for none.
        related: paths of images that speak for it, the nearest first.
    """

    path: str
    label: str | None
    issue: str
    score: float
    suggestion: str
    related: Sequence[str]


@dataclass(frozen=True)
class AuditFinding:
    """One thing that is to be said about the data.

    Args:
        kind: of the issues that belong to it, or a few words of its own.
        heading: what, in a few words.
        text: sentences: how it was found, what it means, what to do.
        n_images: how many images it is about.
        paths: of these, the worst first; some of them where there are many.
    """

    kind: str
    heading: str
    text: str
    n_images: int
    paths: Sequence[str]


@dataclass(frozen=True)
class AuditResult:
    """What an audit found, and the folder that tells it.

    Args:
        folder: with `audit.csv`, `audit.json`, and the page `audit.html`.
        n_images: in the feature file.
        issues: of single images; those of a kind follow each other, the surest first.
        findings: about the data, the most important first.
        notes: sentences: what could not be looked at, and why.
        seconds: that it took.
    """

    folder: Path
    n_images: int
    issues: list[AuditIssue]
    findings: list[AuditFinding]
    notes: list[str]
    seconds: float

    def __fspath__(self) -> str:
        return str(self.folder)


def audit(
    features: str | Path,
    *,
    data: str | Path | None = None,
    group_by: str | None = None,
    memory: int | str | None = None,
    seed: int = 0,
    output: str | Path | None = None,
    force: bool = False,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> AuditResult:
    """Looks for what is wrong with the data of a feature file: labels, images, classes, splits.

    Labels are judged by heads that never saw the image. No backbone runs over the data set.

    Args:
        features: the feature file.
        data: where the images lie now, None for where they lay at extraction. If they are not
            there, nothing is said of pictures and files.
        group_by: a regular expression that finds an image's group in its path; images of a group
            do not speak for each other.
        memory: bytes for features, or a text such as `2GB` or `50%`; None = half of what is free.
        seed: decides what is left to chance.
        output: a new folder, None for `runs/DATA-audit-NUMBER`.
        force: overwrite an audit that is there.
        on_progress: called with a stage, the number done and the number to do.

    Returns:
        The `AuditResult`.

    Raises:
        FeatureFileError: no feature file, or a damaged one, or one whose features cannot be used.
        ParameterError: an option that makes no sense.
        DatasetError: there is no folder `data`.
        SplitError: the pattern finds no group.
        RunError: the output exists.
        LockedError: another process is about to write the output.
    """
    started = time.perf_counter()
    check_options(SplitOptions(group_by=group_by, seed=seed), "audit data")
    target = None if output is None else as_path(output, "output")
    n_bytes = count_bytes(memory)
    require_memory(SCIPY_BYTES, "An audit")
    with (
        claim_output(target, force=force, mark=_MARK),
        FeatureFile(as_path(features, "features")) as file,
    ):
        rows = _open_rows(file, n_bytes, data, group_by, seed, on_progress)
        found = _audit_rows(rows, file.path)
        found = replace(found, left_out=[*found.left_out, *_leave_list(rows, file.path)])
        record: dict[str, Any] = {
            "features_file": str(file.path.resolve()),
            "features_file_seal": file.seal,
            "features_sha256": file.contents.features_sha256,
            "data_root": file.contents.data_root,
            "parameters": {"group_by": group_by, "seed": seed},
        }
        said = len(rows), _name_issues(rows, found), _name_findings(rows, found), found.left_out
        record |= describe_found(*said)
        contents = make_audit_contents(rows, found, lambda some: len(draw_audit_page(some)))
        page = draw_audit_page(contents)
        folder = _write(record, page, file.contents.data_name, target, force=force)
    return AuditResult(folder, *said, seconds=time.perf_counter() - started)


def _open_rows(
    file: FeatureFile,
    n_bytes: int,
    data: str | Path | None,
    group_by: str | None,
    seed: int,
    on_progress: OnProgress,
) -> AuditedRows:
    contents = file.contents
    if not len(contents.images):
        raise FeatureFileError(
            f"This feature file holds no image. Expected some to look at. Received: {file.path}"
        )
    splits, units = divide_as_usual(contents, group_by)
    root = Path(contents.data_root) if data is None else as_path(data, "data")
    if data is not None:
        require_data_root(root)
    return AuditedRows(
        FeatureRows(file, n_bytes),
        contents,
        splits,
        units,
        root if is_folder(root) else None,
        seed,
        on_progress,
    )


def _audit_rows(rows: AuditedRows, path: Path) -> Audit:
    try:
        return find_issues(rows)
    except ParameterError as error:
        if error.parameter != "features":
            raise
        raise FeatureFileError(f"{error}\nReceived: {path}. Extract the features again") from error


def _leave_list(rows: AuditedRows, path: Path) -> list[str]:
    """Leaves the near duplicates beside the feature file; what is to be said where it cannot."""
    if rows.near_duplicates is None:
        return []
    try:
        write_list(path, rows.digests, rows.near_duplicates.groups)
    except StorageError as error:
        return [f"`frostline.fit_head(FEATURES)` will not know of near duplicates. {error}"]
    return []


def _name_issues(rows: AuditedRows, found: Audit) -> list[AuditIssue]:
    """With paths in place of numbers."""
    paths, names, labels = rows.paths, rows.class_names, rows.labels.tolist()
    return [
        AuditIssue(
            paths[issue.row],
            names[labels[issue.row]] if labels[issue.row] >= 0 else None,
            issue.kind,
            issue.score,
            issue.suggestion,
            [paths[row] for row in issue.related],
        )
        for issue in found.issues
    ]


def _name_findings(rows: AuditedRows, found: Audit) -> list[AuditFinding]:
    return [
        AuditFinding(
            finding.kind,
            finding.heading,
            finding.text,
            finding.n_rows,
            [rows.paths[row] for row in finding.rows],
        )
        for finding in found.findings
    ]


def _write(
    record: dict[str, Any], page: str, name: str, output: Path | None, *, force: bool
) -> Path:
    with new_run(output, f"{name}-audit", force=force, mark=_MARK) as (folder, final):
        lines = (
            (
                issue["path"],
                issue["issue"],
                f"{issue['score']:.4f}",
                issue["suggestion"],
                next(iter(issue["related"]), ""),
            )
            for issue in record["issues"]
        )
        write_csv(folder / LIST_NAME, [COLUMNS, *lines])
        head = {"format": FORMAT, "version": VERSION, "created": now()}
        write_json(folder / JSON_NAME, {**head, **record, "software": describe_software()})
        write_text(folder / PAGE_NAME, page)
    return final


def describe_found(
    n_images: int,
    issues: Sequence[AuditIssue],
    findings: Sequence[AuditFinding],
    notes: Sequence[str],
) -> dict[str, Any]:
    """What was found, ready for JSON."""
    return {
        "n_images": n_images,
        "issues": [asdict(issue) for issue in issues],
        "findings": [asdict(finding) for finding in findings],
        "notes": list(notes),
    }
