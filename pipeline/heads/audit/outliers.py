"""Images unlike all others: of something else, or the only ones of their kind.

The distance is the mean over the three nearest other images of 1 - cosine: see
`runs/promise/distance.py` for why three. What is far is decided by the data's own distances.
"""

import numpy as np

from pipeline.heads.audit.audited_rows import AuditedRows
from pipeline.heads.audit.issues import DataFinding, Issue
from pipeline.runs.promise.distance import N_NEAREST
from pipeline.system.printable import count

KIND = "outlier"
# Interquartile ranges of the logarithm above its third quartile. Of a normal distribution 2% are
# beyond; docs/audit.md has what it finds of photos of another data set.
_FENCE = 1.0
_LEAST_IMAGES = 50  # fewer say little of what is usual


def find_outliers(rows: AuditedRows) -> tuple[list[Issue], list[DataFinding]]:
    """Images whose nearest others are far away, as this data set goes."""
    nearest = rows.neighbours
    if len(rows) < _LEAST_IMAGES or nearest.rows.shape[1] < N_NEAREST:
        return [], []
    distances = 1 - nearest.cosines[:, :N_NEAREST].mean(axis=1)
    usual, far = find_fence(distances)
    found = np.flatnonzero(distances > far)
    order = found[np.argsort(-distances[found], kind="stable")]
    issues = [
        Issue(row, KIND, float(1 - usual / distances[row]), "look", nearest.rows[row, :3].tolist())
        for row in order.tolist()
    ]
    if not issues:
        return [], []
    text = (
        "Even the images that are most like these are far away: these may show something else, or "
        "be the only ones of their kind. The farthest come first; of images that are all of one "
        "kind, one or two in a hundred are listed, too. Usual in this data set is a distance of "
        f"{usual:.2f} (1 - cosine of the features), far is {far:.2f} and more."
    )
    heading = f"{count(len(issues), 'image')} least like the others"
    return issues, [DataFinding(KIND, heading, text, order.tolist(), len(issues))]


def find_fence(values: np.ndarray) -> tuple[float, float]:
    """The median, and the value above which a value is far out, as J. W. Tukey (1977) sets fences.

    On the logarithm: distances spread by factors.
    """
    logs = np.log(np.maximum(values, 1e-6))
    low, middle, high = np.percentile(logs, [25, 50, 75])
    return float(np.exp(middle)), float(np.exp(high + _FENCE * (high - low)))
