"""What the newest audit of a run's feature file found, out of the `audit.json` that it wrote."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pipeline.errors import RunError
from pipeline.report.contents import Finding
from pipeline.report.gathering.image_pool import ImagePool
from pipeline.report.gathering.run_features import find_feature_parts
from pipeline.report.gathering.scored_run import ScoredRun
from pipeline.runs.run_folder import RUNS_FOLDER
from pipeline.system.paths import is_file, is_folder
from pipeline.system.printable import printable

JSON_NAME, FORMAT = "audit.json", "frostline-audit"
WRONG_LABEL = "wrong label"
MOST_SHOWN = 24
_MOST_BYTES, _MARK_BYTES = 2**28, 200


@dataclass(frozen=True)
class _Issue:
    path: str
    issue: str


@dataclass(frozen=True)
class _Finding:
    heading: str
    text: str
    n_images: int
    paths: list[str]


@dataclass(frozen=True)
class RecordedAudit:
    """What is read of an `audit.json`.

    Args:
        format: `frostline-audit`.
        created: ISO 8601, UTC.
        features_file: absolute path.
        features_sha256: of the rows, hex.
        findings, issues: see `write_audit.py`.
    """

    format: str
    created: str
    features_file: str
    features_sha256: str
    findings: list[_Finding]
    issues: list[_Issue]


def find_audit(scored: ScoredRun) -> tuple[RecordedAudit | None, list[str]]:
    """The newest audit of the run's feature file among the folders beside the run and in `runs/`.

    Returns:
        None where there is none; and a sentence for each audit that cannot be read.
    """
    try:
        _, backbones = find_feature_parts(scored.run)
    except RunError:
        return None, []
    parts = [used.features for used in backbones if used.features is not None]
    files = {part.features_file for part in parts}
    sums = {part.features_sha256 for part in parts}
    found, notes = [], []
    for path in _list_audits(scored.run.folder.absolute().parent):
        try:
            audit = _read(path)
        except (OSError, ValueError, TypeError) as error:
            notes.append(f"An audit cannot be read ({error}): {printable(str(path))}")
            continue
        if audit.features_file in files or audit.features_sha256 in sums:
            found.append(audit)
    return max(found, key=lambda audit: audit.created, default=None), notes


def list_suspects(audit: RecordedAudit | None) -> set[str]:
    """Paths of the images whose label it doubts."""
    issues = [] if audit is None else audit.issues
    return {issue.path for issue in issues if issue.issue == WRONG_LABEL}


def list_findings(audit: RecordedAudit, pool: ImagePool, number: int) -> list[Finding]:
    """What it found, with images of a run of the report.

    Args:
        number: of the run.
    """
    row_of = {path: row for row, path in enumerate(pool.runs[number].paths)}
    return [
        Finding(
            heading=printable(one.heading),
            text=printable(" ".join(one.text.split("\n"))),
            images=[
                pool.number(number, row_of[path])
                for path in one.paths[:MOST_SHOWN]
                if path in row_of
            ],
            n_images=one.n_images,
        )
        for one in audit.findings
    ]


def _list_audits(beside: Path) -> Iterator[Path]:
    """Files that begin as an audit does."""
    for folder in dict.fromkeys([beside, RUNS_FOLDER.absolute()]):
        if is_folder(folder):
            with os.scandir(folder) as entries:
                paths = sorted(Path(entry.path) / JSON_NAME for entry in entries)
            yield from (path for path in paths if is_file(path) and _is_marked(path))


def _is_marked(path: Path) -> bool:
    with path.open("rb") as file:
        return f'"{FORMAT}"'.encode() in file.read(_MARK_BYTES)


def _read(path: Path) -> RecordedAudit:
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")
    return msgspec.convert(json.loads(path.read_text("utf-8")), RecordedAudit)
