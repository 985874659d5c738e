"""Classes with too few images to learn from, or to be judged by."""

import numpy as np

from pipeline.heads.audit.audited_rows import AuditedRows
from pipeline.heads.audit.issues import DataFinding
from pipeline.system.printable import count, visible

KIND = "small class"
_FEW = 10  # different images
_MUCH_SMALLER = 10  # times fewer than the median class
_N_SHOWN = 10


def find_small_classes(rows: AuditedRows) -> tuple[list, list[DataFinding]]:
    """Classes of fewer than ten different images, or ten times fewer than the median class."""
    n_classes = len(rows.class_names)
    counts = np.array(
        [len(np.unique(rows.units[rows.labels == label])) for label in range(n_classes)]
    )
    if not counts.any():
        return [], []
    least = max(_FEW, float(np.median(counts)) / _MUCH_SMALLER)
    small = [label for label in np.argsort(counts, kind="stable").tolist() if counts[label] < least]
    if not small:
        return [], []
    shown = ", ".join(f"{visible(rows.class_names[label])} ({counts[label]:,})"
                      for label in small[:_N_SHOWN])  # fmt: skip
    more = f" and {len(small) - _N_SHOWN:,} more" if len(small) > _N_SHOWN else ""
    is_are = "is" if len(small) == 1 else "are"
    text = (
        f"{shown}{more}. The median class has {np.median(counts):,.0f} different images. Add "
        "images, take classes as one with `merge`, or leave them out with `drop_small`."
    )
    images = np.flatnonzero(np.isin(rows.labels, small)).tolist()
    heading = f"{count(len(small), 'class')} {is_are} too small"
    return [], [DataFinding(KIND, heading, text, images, len(images))]
