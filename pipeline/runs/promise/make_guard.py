"""Makes the guard of a head that was fitted: finds what it may promise, or says why it may not.

Validation, which chose other things before, chooses here, too: the order in which thresholds are
tried, and, with the training images, each of which is new to the others, the greatest distance. The
test images alone prove. What trained or chose is taken out of them, also as an equal image or as a
member of the same group, and of equal images or of a group one counts: the bound is for independent
ones.
"""

from typing import Any

import numpy as np

from pipeline.errors import PromiseError
from pipeline.images.splits import TEST, TRAIN, VAL
from pipeline.runs.promise.bounds import CONFIDENCE, count_needed, lower_bound
from pipeline.runs.promise.distance import (
    Surroundings,
    count_needed_distances,
    find_greatest_distance,
    surround,
)
from pipeline.runs.promise.guard import Guard
from pipeline.runs.promise.options import PromiseOptions
from pipeline.runs.promise.record import PromisePart
from pipeline.runs.promise.threshold import Answers, Found, NotFound, find_threshold

TEST_FRACTION = 0.25  # where neither the source nor the user says which images prove


def make_guard(
    features: Any,
    labels: np.ndarray,
    splits: np.ndarray,
    probabilities: np.ndarray,
    units: np.ndarray,
    options: PromiseOptions,
) -> Guard:
    """Finds which answers keep the promise.

    Args:
        features: float32 (n_samples, n_features), or what is sliced like it.
        labels: int (n_samples,).
        splits: int8 (n_samples,): 0 train, 1 val, 2 test, -1 none.
        probabilities: (n_samples, n_classes).
        units: int (n_samples,), equal for images that are not independent: equal ones, those of
            one group.
        options: with a promise.

    Raises:
        PromiseError: there are too few images, or the head is not good enough.
    """
    share = options.promise
    if share is None:
        raise ValueError("Expected options with a promise")
    train, choosing, proving = find_independent_rows(splits, units)
    if len(proving) < count_needed(share):
        raise _too_few(share, len(proving))
    surroundings, greatest = _find_surroundings(features, train, choosing, options.unlike)

    def answers(rows: np.ndarray) -> Answers:
        said = probabilities[rows]
        is_near = np.ones(len(rows), bool)
        if surroundings is not None:
            is_near = surroundings.measure(np.asarray(features[rows])) <= greatest
        return Answers(said.max(axis=1), said.argmax(axis=1) == labels[rows], is_near)

    found = find_threshold(answers(choosing), answers(proving), share)
    if isinstance(found, NotFound):
        raise _not_good_enough(share, found)
    return Guard(_record(share, found, greatest, options.unlike), surroundings)


def find_independent_rows(
    splits: np.ndarray, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row numbers of train, val and test: one of each unit, and none whose unit came before.

    Which one is left to chance, the same at each call: the first of a group may be a title page.
    """
    order = np.random.default_rng(0).permutation(len(splits))
    seen: set[int] = set()
    found = []
    for split in (TRAIN, VAL, TEST):
        rows = []
        for row in order[splits[order] == split].tolist():
            unit = int(units[row])
            if unit not in seen:
                seen.add(unit)
                rows.append(row)
        found.append(np.array(sorted(rows), np.int64))
    return found[0], found[1], found[2]


def _find_surroundings(
    features: Any, train: np.ndarray, choosing: np.ndarray, unlike: float
) -> tuple[Surroundings | None, float | None]:
    if unlike == 0:
        return None, None
    surroundings = surround(features, train)
    of_new = surroundings.measure(np.asarray(features[choosing]))
    distances = np.concatenate([of_new, surroundings.measure_own()])
    greatest = find_greatest_distance(distances, unlike)
    if greatest is None:
        raise PromiseError(
            "There are too few images to tell what is unlike anything seen. Expected at least "
            f"{count_needed_distances(unlike):,} different ones for training and validation with "
            f"`unlike={unlike}`. Received: {len(distances):,}\nAdd images, let it refuse more of "
            "its own with a greater `unlike`, or do without: `unlike=0`."
        )
    return surroundings, greatest


def _record(share: float, found: Found, greatest: float | None, unlike: float) -> PromisePart:
    return PromisePart(
        share=share,
        least_confidence=found.threshold,
        greatest_distance=greatest,
        unlike=unlike,
        n_images=found.n_images,
        n_answered=found.n_answered,
        n_right=found.n_right,
        bound=found.bound,
        n_tested=found.n_tested,
    )


def _too_few(share: float, n_images: int) -> PromiseError:
    most = f" {_floor(lower_bound(n_images, n_images)):.3f}" if n_images else " nothing"
    return PromiseError(
        f"There are too few images to promise this. Expected at least {count_needed(share):,} "
        "different test images, all of them answered and right, to show with "
        f"{CONFIDENCE:.0%} confidence that {share:.4g} of the answers are. "
        f"Received: {n_images:,}, which show{most} at most.\n"
        "Give the test split more with `test_fraction`, add images, or promise less."
    )


def _not_good_enough(share: float, found: NotFound) -> PromiseError:
    shown = (
        f"{found.n_right:,} of {found.n_answered:,} answers right, where it is surest among "
        f"{found.n_images:,} test images, which shows {_floor(found.bound):.3f}."
    )
    if found.n_needed is None:
        way_out = (
            "To judge by validation no number of images would do: the head is wrong too often even "
            "where it is surest. Promise less, or fit a better head."
        )
    elif found.n_needed <= found.n_images:
        way_out = (
            "To judge by validation so many images would do, so it may be bad luck; with more "
            "(`test_fraction`) it is seldom. Or promise less."
        )
    else:
        way_out = (
            f"To judge by validation about {found.n_needed:,} test images would do: give the test "
            "split more with `test_fraction`, add images, or promise less."
        )
    return PromiseError(
        f"This head cannot promise that {share:.4g} of its answers are right. Expected test "
        f"images that show it with {CONFIDENCE:.0%} confidence. Received: {shown}\n{way_out}"
    )


def _floor(share: float) -> float:
    """To three digits, never more than it is: what is said must be possible."""
    return int(share * 1000) / 1000
