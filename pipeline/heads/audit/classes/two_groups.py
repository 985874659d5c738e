"""Classes that are two groups: two things under one name, or one thing in two ways.

One half of a class's images finds the line along which it falls into two (2-means in its first
principal components); the other half, which had no part in that, is laid on the line, and must have
two peaks there for anything to be said.
"""

import math
from dataclasses import dataclass

import numpy as np

from pipeline.heads.audit.audited_rows import AuditedRows
from pipeline.heads.audit.issues import DataFinding
from pipeline.system.printable import visible

KIND = "two groups"
_LEAST_IMAGES = 40
_MOST_IMAGES = 1000
_LEAST_SHARE = 0.15  # of the smaller group
_N_COMPONENTS = 10
_SURE = 0.01  # for all classes together
_LEAST_GAP = 3.0  # between the groups, in standard deviations within them
_GRID = 256
_N_SHOWN = 6  # of each group


@dataclass(frozen=True)
class TwoGroups:
    """What was found in a class.

    Args:
        has_two_peaks: whether rows that had no part in finding the line have two peaks on it.
        gap: between the groups' means, in standard deviations within them.
        is_second: bool `(n,)`, which group each row is of.
        place: float64 `(n,)`, where it lies on the line between them, 0..1 from mean to mean.
    """

    has_two_peaks: bool
    gap: float
    is_second: np.ndarray
    place: np.ndarray


def find_two_groups(rows: AuditedRows) -> tuple[list, list[DataFinding]]:
    """Tells of each class whose images fall into two groups."""
    random = np.random.default_rng(rows.seed)
    _, one_each = np.unique(rows.units, return_index=True)
    is_usable = np.zeros(len(rows), bool)
    is_usable[one_each] = True
    members = [
        (label, np.flatnonzero(is_usable & (rows.labels == label)))
        for label in range(len(rows.class_names))
    ]
    members = [(label, numbers) for label, numbers in members if len(numbers) >= _LEAST_IMAGES]
    findings = []
    for done, (label, numbers) in enumerate(members, start=1):
        some = np.sort(random.permutation(numbers)[:_MOST_IMAGES])
        found = part_in_two(np.asarray(rows.features[some]), random, _SURE / len(members))
        share = found.is_second.mean()
        if found.has_two_peaks and _LEAST_SHARE <= share <= 1 - _LEAST_SHARE:
            findings.append(_describe(rows, label, some, found))
        rows.on_progress("Looking for groups", done, len(members))
    return [], findings


def part_in_two(features: np.ndarray, random: np.random.Generator, sure: float) -> TwoGroups:
    """Looks for two groups in rows of features.

    Args:
        features: float32 `(n, n_features)`, n at least 8.
        random: divides the rows, and draws.
        sure: probability of two peaks that is allowed where there is one.
    """
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA

    order = random.permutation(len(features))
    known, new = np.split(order, [len(order) // 2])
    n_components = min(_N_COMPONENTS, len(known) - 1, features.shape[1])
    seed = int(random.integers(2**31))
    components = PCA(n_components, svd_solver="full").fit(features[known])
    placed = components.transform(features)
    groups = KMeans(2, n_init=5, random_state=seed).fit(placed[known])
    start, end = groups.cluster_centers_
    line = end - start
    length = float(line @ line)
    if length == 0:
        nobody = np.zeros(len(features), bool)
        return TwoGroups(False, 0.0, nobody, np.zeros(len(features)))
    place = (placed - start) @ line / length
    is_second = place > 0.5
    of_new = [place[new][is_second[new] == side] for side in (False, True)]
    spread = np.sqrt(np.mean([one.var() for one in of_new if len(one)] or [np.inf]))
    gap = float((of_new[1].mean() - of_new[0].mean()) / max(spread, 1e-9)) if all(
        len(one) > 1 for one in of_new
    ) else 0.0  # fmt: skip
    has_two = gap >= _LEAST_GAP and has_two_peaks(place[new], random, sure)
    return TwoGroups(has_two, gap, is_second, place)


def has_two_peaks(values: np.ndarray, random: np.random.Generator, sure: float) -> bool:
    """Whether values have two peaks or more: of one peak they seem to with a probability of `sure`.

    Source: B. W. Silverman, "Using kernel density estimates to investigate multimodality", Journal
    of the Royal Statistical Society B 43 (1981): the smoothed bootstrap at the least bandwidth that
    leaves one peak. It errs on the side of one peak.
    """
    spread = float(values.std())
    if spread == 0:
        return False
    values = (values - values.mean()) / spread
    low, high = 1e-3, 4.0
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (low, middle) if _count_peaks(values, middle) <= 1 else (middle, high)
    shrink = 1 / np.sqrt(1 + high**2)
    for _ in range(math.ceil(1 / sure)):  # one draw with two peaks is one too many
        drawn = random.choice(values, len(values)) + high * random.standard_normal(len(values))
        # Scaled so that the variance is that of the values.
        if _count_peaks(shrink * drawn, high) > 1:
            return False
    return True


def _count_peaks(values: np.ndarray, bandwidth: float) -> int:
    """Peaks of the density of values, smoothed by a Gaussian kernel."""
    grid = np.linspace(values.min() - 3 * bandwidth, values.max() + 3 * bandwidth, _GRID)
    density = np.exp(-0.5 * np.square((grid[:, None] - values) / bandwidth)).sum(axis=1)
    rises = np.diff(density) > 0
    return int((rises[:-1] & ~rises[1:]).sum())


def _describe(rows: AuditedRows, label: int, numbers: np.ndarray, found: TwoGroups) -> DataFinding:
    name = visible(rows.class_names[label])
    n_second = int(found.is_second.sum())
    groups = [
        numbers[side][np.argsort(np.abs(found.place[side] - target), kind="stable")][:_N_SHOWN]
        for side, target in ((~found.is_second, 0.0), (found.is_second, 1.0))
    ]
    text = (
        f"Its images fall into two groups, of {len(numbers) - n_second:,} and {n_second:,}, with "
        "few between. It may be two things under one name, or one thing in two ways (another "
        "camera, day and night). Shown are typical images of one group, then of the other."
    )
    return DataFinding(
        KIND, f"{name} is two groups", text, np.concatenate(groups).tolist(), len(numbers)
    )  # fmt: skip
