"""Pairs of classes that heads cannot tell apart.

For each two classes the area under the ROC curve of the difference of their scores is taken, over
the images of both, each scored by a head that never saw it. Claimed is only what the area's upper
bound says, at a confidence of 95% for all pairs together.
"""

from itertools import combinations

import numpy as np

from pipeline.heads.audit.audited_rows import AuditedRows
from pipeline.heads.audit.issues import DataFinding
from pipeline.heads.audit.out_of_sample import LeftOut
from pipeline.system.printable import count, visible

KIND = "classes alike"
_HARDLY = 0.8  # area below which two classes are hardly told apart; 0.5 is chance
_LEAST_IMAGES = 5
_MOST_PAIRS = 20_000
_CONFIDENCE = 0.95
_N_SHOWN = 12
_MOST_TOLD = 5  # pairs apart; the others are summed up


def find_alike_classes(rows: AuditedRows) -> tuple[list, list[DataFinding]]:
    """Pairs of classes whose images are hardly told apart, the most alike first."""
    left_out = rows.left_out
    if left_out is None:
        return [], []
    pairs = _choose_pairs(left_out, len(rows.class_names))
    found = []
    for first, second in pairs:
        area, most = bound_area(left_out, first, second, len(pairs))
        if most < _HARDLY:
            found.append((area, first, second))
    found.sort()
    told = [_describe(rows, left_out, *one) for one in found[:_MOST_TOLD]]
    rest = [one[1:] for one in found[_MOST_TOLD:]]
    return [], told + ([_sum_up(rows, rest)] if rest else [])


def _choose_pairs(left_out: LeftOut, n_classes: int) -> list[tuple[int, int]]:
    """All pairs of classes with enough images; of very many those that are confused at all."""
    counts = np.bincount(left_out.labels, minlength=n_classes)
    classes = np.flatnonzero(counts >= _LEAST_IMAGES).tolist()
    if len(classes) * (len(classes) - 1) // 2 <= _MOST_PAIRS:
        return list(combinations(classes, 2))
    guesses = left_out.probabilities.argmax(axis=1)
    confused = {
        (min(label, guess), max(label, guess))
        for label, guess in zip(left_out.labels.tolist(), guesses.tolist(), strict=True)
        if label != guess
    }
    usable = set(classes)
    return sorted(pair for pair in confused if usable.issuperset(pair))


def bound_area(left_out: LeftOut, first: int, second: int, n_pairs: int) -> tuple[float, float]:
    """The area under the ROC curve, 0..1, and its upper bound where so many pairs are looked at.

    Source: J. A. Hanley and B. J. McNeil, "The meaning and use of the area under a receiver
    operating characteristic (ROC) curve", Radiology 143 (1982), for the standard error.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    is_pair = (left_out.labels == first) | (left_out.labels == second)
    is_second = left_out.labels[is_pair] == second
    scores = left_out.scores[is_pair, second] - left_out.scores[is_pair, first]
    n_second = int(is_second.sum())
    n_first = len(is_second) - n_second
    won = rankdata(scores)[is_second].sum() - n_second * (n_second + 1) / 2
    area = float(won / (n_first * n_second))
    # Below chance there is nothing to tell apart by: the error is that of chance.
    middle = max(area, 0.5)
    of_two = middle / (2 - middle) - middle**2
    of_three = 2 * middle**2 / (1 + middle) - middle**2
    variance = (middle * (1 - middle) + (n_second - 1) * of_two + (n_first - 1) * of_three) / (
        n_first * n_second
    )
    width = -float(ndtri((1 - _CONFIDENCE) / n_pairs)) * float(np.sqrt(max(variance, 0.0)))
    return area, middle + width


def _sum_up(rows: AuditedRows, pairs: list[tuple[int, int]]) -> DataFinding:
    """The pairs that are not told of one by one."""
    named = [
        " and ".join(visible(rows.class_names[label]) for label in pair)
        for pair in pairs[:_N_SHOWN]
    ]
    more = f" and {len(pairs) - _N_SHOWN:,} more" if len(pairs) > _N_SHOWN else ""
    heading = f"{count(len(pairs), 'further pair')} of classes can hardly be told apart"
    n_rows = int(np.isin(rows.labels, list({label for pair in pairs for label in pair})).sum())
    return DataFinding(KIND, heading, f"{'; '.join(named)}{more}.", n_rows=n_rows)


def _describe(
    rows: AuditedRows, left_out: LeftOut, area: float, first: int, second: int
) -> DataFinding:
    names = visible(rows.class_names[first]), visible(rows.class_names[second])
    between = np.abs(left_out.scores[:, first] - left_out.scores[:, second])
    of_pair = np.flatnonzero((left_out.labels == first) | (left_out.labels == second))
    nearest = of_pair[np.argsort(between[of_pair], kind="stable")][:_N_SHOWN]
    text = (
        f"Of two images, one of each, the one of {names[1]} is taken for it in "
        f"{max(area, 0.5):.0%} of cases by heads that saw neither (50% is chance). The features "
        "hold no more to tell them apart by: take them as one with `merge`, look whether both "
        "names mean the same, or try another backbone or a larger image size. These are the images "
        "that lie between the two."
    )
    return DataFinding(
        KIND, f"{names[0]} and {names[1]} can hardly be told apart", text,
        left_out.rows[nearest].tolist(), len(of_pair)
    )  # fmt: skip
