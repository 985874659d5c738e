"""Splits of the source that are unlike each other: scores on one say little of the other then.

The classifier two-sample test (D. Lopez-Paz and M. Oquab, "Revisiting classifier two-sample tests",
ICLR 2017): a head learns on one half of the images to tell the splits apart, and the other half
shows whether it can. Compared are images of the same class, so that another mixture of classes,
which is told of by itself, is none of it.
"""

import numpy as np

from pipeline.heads.audit.audited_rows import AuditedRows
from pipeline.heads.audit.issues import DataFinding
from pipeline.images.splits import SPLITS, TEST, TRAIN, UNLABELLED, VAL

KIND = "unlike splits"
_MOST_IMAGES = 4000  # of each split
_LEAST_IMAGES = 20
_SURE = 0.001  # probability of so great a difference between splits that are alike
_LEAST_AREA = 0.6  # below it a difference may be real, and is too small to speak of
_N_SHOWN = 12
_STRENGTHS = np.logspace(-3, 4, 15)


def find_unlike_splits(rows: AuditedRows) -> tuple[list, list[DataFinding]]:
    """Compares train with val and with test, as far as the source itself says which is which."""
    findings = []
    for split in (VAL, TEST):
        found = _compare(rows, TRAIN, split)
        if found is not None:
            findings.append(found)
    return [], findings


def _compare(rows: AuditedRows, first: int, second: int) -> DataFinding | None:
    random = np.random.default_rng(rows.seed)
    _, one_each = np.unique(rows.units, return_index=True)
    is_usable = np.zeros(len(rows), bool)
    is_usable[one_each] = True
    chosen = []
    for split in (first, second):
        numbers = np.flatnonzero(
            is_usable & (rows.given_splits == split) & (rows.labels != UNLABELLED)
        )
        if len(numbers) < _LEAST_IMAGES:
            return None
        chosen.append(np.sort(random.permutation(numbers)[:_MOST_IMAGES]))
    numbers = np.concatenate(chosen)
    is_second = np.repeat([False, True], [len(chosen[0]), len(chosen[1])])
    area, p_value, scores = compare_halves(
        np.asarray(rows.features[numbers]), is_second, rows.labels[numbers], random
    )
    if p_value >= _SURE or area < _LEAST_AREA:
        return None
    names = SPLITS[first], SPLITS[second]
    typical = numbers[np.argsort(np.where(is_second, -scores, scores), kind="stable")]
    text = (
        f"A head tells images of {names[1]} from images of {names[0]} of the same class: of two "
        f"that it never saw, one of each, it takes the right one for {names[1]} in {area:.0%} of "
        "cases (50% if they were alike). Another camera, place or time may be the reason; a score "
        f"on {names[1]} then says little about images such as those in {names[0]}. These are the "
        "images that are most clearly of one of the two."
    )
    return DataFinding(
        KIND, f"{names[0]} and {names[1]} are unlike", text, typical[:_N_SHOWN].tolist(),
        len(numbers)
    )  # fmt: skip


def compare_halves(
    features: np.ndarray, is_second: np.ndarray, classes: np.ndarray, random: np.random.Generator
) -> tuple[float, float, np.ndarray]:
    """Whether two sets of rows are unlike within their classes.

    Args:
        features: float32 `(n, n_features)`.
        is_second: bool `(n,)`.
        classes: int `(n,)`; only rows of one class are compared.
        random: divides the rows into halves.

    Returns:
        The area under the ROC curve on rows that the head never saw, the probability of so great a
        one if the sets were alike (of the greater of both halves, doubled), and the head's scores.

    Source: the Mann-Whitney statistic, added up over strata (P. van Elteren, 1960).
    """
    from scipy.special import ndtr
    from sklearn.linear_model import RidgeCV
    from sklearn.preprocessing import StandardScaler

    half = _divide(is_second, classes, random)
    scores = np.zeros(len(features))
    results = []
    for part in (0, 1):
        known, new = half != part, half == part
        scaler = StandardScaler().fit(features[known])
        weights = np.where(is_second[known], 1 / is_second[known].mean(),
                           1 / (~is_second[known]).mean())  # fmt: skip
        head = RidgeCV(_STRENGTHS * known.sum()).fit(
            scaler.transform(features[known]), is_second[known].astype(float), weights
        )
        scores[new] = head.predict(scaler.transform(features[new]))
        results.append(compare_ranks(scores[new], is_second[new], classes[new]))
    areas, deviations = zip(*results, strict=True)
    p_value = min(1.0, 2 * float(ndtr(-max(deviations))))
    return float(np.mean(areas)), p_value, scores


def _divide(is_second: np.ndarray, classes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """0 or 1 for each row, half of each set and class."""
    half = np.zeros(len(classes), np.int64)
    order = random.permutation(len(classes))
    key = classes[order].astype(np.int64) * 2 + is_second[order]
    for one in np.unique(key).tolist():
        members = order[key == one]
        half[members[: len(members) // 2]] = 1
    return half


def compare_ranks(
    scores: np.ndarray, is_second: np.ndarray, classes: np.ndarray
) -> tuple[float, float]:
    """Share of pairs of a class in which the second set has the higher score, and its deviation.

    The deviation is in standard deviations of what chance alone makes.
    """
    from scipy.stats import rankdata

    won, n_pairs, variance = 0.0, 0.0, 0.0
    for one in np.unique(classes).tolist():
        of_class = classes == one
        n_second = int(is_second[of_class].sum())
        n_first = int(of_class.sum()) - n_second
        if n_first and n_second:
            ranks = rankdata(scores[of_class])
            won += ranks[is_second[of_class]].sum() - n_second * (n_second + 1) / 2
            n_pairs += n_first * n_second
            variance += n_first * n_second * (n_first + n_second + 1) / 12
    if not n_pairs:
        return 0.5, 0.0
    return won / n_pairs, (won - n_pairs / 2) / float(np.sqrt(variance))
