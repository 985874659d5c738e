"""What an extraction did: numbers of images, and the list of those that were skipped."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.features.feature_file import Contents
from pipeline.features.finished_rows import FinishedRows
from pipeline.features.row_keys import RowKeys, unique_digests
from pipeline.system.csv_files import write_csv

_KINDS = ("kept", "reused", "resumed", "computed")  # of rows, by what they cost


@dataclass
class ExtractSummary:
    """What an extraction did; counts are images."""

    path: Path
    n_images: int = 0
    kept: int = 0
    resumed: int = 0
    reused: int = 0
    computed: int = 0
    copies: int = 0
    removed: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_unchanged: bool = False
    seconds: float = 0.0
    compute_seconds: float = 0.0
    bytes: int = 0


def count_images(
    summary: ExtractSummary, contents: Contents, finished: FinishedRows, old: Contents | None
) -> None:
    """Counts into `summary` where the rows of the new file come from.

    An image of which one view was computed was computed, whatever the others are.

    Args:
        contents: of the new file.
        old: of the file before, if there was one.
    """
    unique = unique_digests(contents.images.digests)
    ranks = np.array([_KINDS.index(source.kind) for source in finished.sources])
    of_keys = ranks[finished.find_sources(RowKeys(contents.views).of_all(unique))]
    n_images = len(unique)
    of_views = of_keys[n_images:].reshape(n_images, -1)  # image by image, and view 0 before all
    costliest = np.column_stack([of_keys[:n_images], of_views]).max(axis=1)
    counts = np.bincount(costliest, minlength=len(_KINDS)).tolist()
    summary.kept, summary.reused, summary.resumed, summary.computed = counts
    summary.copies = len(contents.images) - n_images
    summary.skipped = list(zip(contents.skipped.paths, contents.reasons, strict=True))
    if old is not None:
        every = unique_digests(np.concatenate([old.images.digests, unique]))
        summary.removed = len(every) - n_images


def write_skipped_csv(features_path: Path, skipped: list[tuple[str, str]]) -> Path:
    """Writes `path,reason` beside a feature file, `NAME.skipped.csv`; returns its path.

    Raises:
        StorageError: it cannot be written.
    """
    path = features_path.with_suffix(".skipped.csv")
    write_csv(path, [("path", "reason"), *skipped])
    return path
