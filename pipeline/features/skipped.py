"""The list of images that were skipped, for a spreadsheet."""

import csv
import io
from pathlib import Path

from pipeline.system.atomic_files import write_text


def write_skipped_csv(features_path: Path, skipped: list[tuple[str, str]]) -> Path:
    """Writes `path,reason` beside a feature file, `NAME.skipped.csv`; returns its path.

    Raises:
        StorageError: it cannot be written.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "reason"])
    writer.writerows(skipped)
    path = features_path.with_suffix(".skipped.csv")
    write_text(path, text.getvalue())
    return path
