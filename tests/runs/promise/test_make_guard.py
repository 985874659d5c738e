"""Which images prove a promise, and what is said where they cannot."""

import numpy as np
import pytest

from pipeline.errors import PromiseError
from pipeline.runs.promise.make_guard import find_independent_rows, make_guard
from pipeline.runs.promise.options import PromiseOptions

TRAIN, VAL, TEST = 0, 1, 2


def make_data(n: int = 400, accuracy: float = 1.0, seed: int = 0):
    """Features, labels, splits, probabilities and units of a head that is as right as said."""
    rng = np.random.default_rng(seed)
    features = rng.gamma(2, size=(n, 6)).astype(np.float32)
    labels = rng.integers(0, 2, n)
    splits = np.repeat([TRAIN, VAL, TEST], [n - 2 * (n // 3), n // 3, n // 3]).astype(np.int8)
    is_right = rng.random(n) < accuracy
    probabilities = np.empty((n, 2))
    probabilities[np.arange(n), np.where(is_right, labels, 1 - labels)] = 0.9
    probabilities[probabilities != 0.9] = 0.1
    return features, labels, splits, probabilities, np.arange(n)


def test_one_of_each_unit_counts_and_none_that_trained_or_chose():
    splits = np.array([0, 1, 2, 2, 2, 2, 2, -1], np.int8)
    units = np.array(
        [1, 2, 1, 2, 3, 3, 4, 5]
    )  # the third trained, the fourth chose, one is there twice
    train, choosing, proving = find_independent_rows(splits, units)
    assert (train.tolist(), choosing.tolist()) == ([0], [1])
    assert proving.tolist() in ([4, 6], [5, 6])


def test_copies_prove_nothing():
    features, labels, splits, probabilities, units = make_data(480)
    options = PromiseOptions(promise=0.98)
    assert make_guard(features, labels, splits, probabilities, units, options).facts.n_images == 160
    test = np.flatnonzero(splits == TEST)
    units[test] = units[test[:100]][np.arange(160) % 100]
    with pytest.raises(PromiseError, match="at least 149 different test images") as caught:
        make_guard(features, labels, splits, probabilities, units, options)
    assert "Received: 100, which show 0.970 at most" in str(caught.value)
    assert "`test_fraction`" in str(caught.value)


def test_head_that_is_not_good_enough_is_told_what_it_could_promise():
    data = make_data(900, accuracy=0.9)
    with pytest.raises(PromiseError, match=r"cannot promise that 0\.95") as caught:
        make_guard(*data, PromiseOptions(promise=0.95))
    assert "no number of images would do" in str(caught.value)


def test_head_that_is_good_enough_with_more_images_is_told_how_many():
    features, labels, splits, probabilities, units = make_data(480)
    test = np.flatnonzero(splits == TEST)
    probabilities[test[:4]] = probabilities[test[:4], ::-1]  # four of 160 are wrong
    with pytest.raises(PromiseError, match=r"cannot promise that 0\.98") as caught:
        make_guard(features, labels, splits, probabilities, units, PromiseOptions(promise=0.98))
    assert "would do" in str(caught.value)


def test_too_few_images_for_a_distance_are_an_error_that_names_the_way_out():
    features, labels, splits, probabilities, units = make_data(480)
    splits[np.flatnonzero(splits == VAL)[20:]] = -1
    splits[np.flatnonzero(splits == TRAIN)[20:]] = -1
    given = (features, labels, splits, probabilities, units)
    with pytest.raises(PromiseError, match="at least 49 different ones") as caught:
        make_guard(*given, PromiseOptions(promise=0.98))
    assert "Received: 40" in str(caught.value) and "`unlike=0`" in str(caught.value)
    guard = make_guard(*given, PromiseOptions(promise=0.98, unlike=0))
    assert guard.surroundings is None
    assert guard.judge(features, probabilities) == [None] * len(features)


def test_guard_tells_unsure_from_unlike():
    features, labels, splits, probabilities, units = make_data(480)
    guard = make_guard(*(features, labels, splits, probabilities, units),
                       PromiseOptions(promise=0.95))  # fmt: skip
    strange = -features[:1]
    assert guard.judge(strange, probabilities[:1]) == ["unlike anything seen"]
    test = features[splits == TEST]
    assert (
        np.mean([said is None for said in guard.judge(test, probabilities[splits == TEST])]) > 0.9
    )
