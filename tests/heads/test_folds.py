"""Folds: every image in one, equal images and groups whole, each class in its share."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SplitError
from pipeline.heads.folds import assign_folds, hold_out_in_turn, hold_some_out

NAMES = ["ant", "bee", "cat", "dog"]


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(6, 40), min_size=2, max_size=4),
    n_folds=st.integers(2, 6),
    n_copies=st.integers(0, 8),
    seed=st.integers(0, 10**6),
)
def test_copies_stay_together_and_each_class_has_its_share_of_every_fold(
    counts, n_folds, n_copies, seed
):
    labels = np.repeat(np.arange(len(counts)), counts)
    units = np.arange(len(labels))
    n_copies = min(n_copies, counts[0] - n_folds)
    if n_copies > 0:  # of the first image, all of its class
        units[1 : 1 + n_copies] = 0
    folds = assign_folds(labels, units, n_folds, seed, NAMES)
    assert set(folds.tolist()) == set(range(n_folds))
    assert len(set(folds[units == 0].tolist())) == 1
    np.testing.assert_array_equal(folds, assign_folds(labels, units, n_folds, seed, NAMES))
    for label, count in enumerate(counts):
        held = np.bincount(folds[labels == label], minlength=n_folds)
        assert held.max() < count  # something is left to train on
        if n_copies <= 0:
            assert held.min() >= count // n_folds
            assert held.max() <= -(-count // n_folds)


def test_large_groups_of_mixed_classes_stay_together():
    random = np.random.default_rng(0)
    units = np.repeat(np.arange(40), 10)
    labels = random.integers(0, 3, 400)
    folds = assign_folds(labels, units, 5, 0, NAMES)
    assert all(len(set(folds[units == unit].tolist())) == 1 for unit in range(40))
    sizes = np.bincount(folds)
    assert sizes.min() >= 70 and sizes.max() <= 90


def test_other_seeds_make_other_folds():
    labels = np.arange(60) % 3
    first, second = (assign_folds(labels, np.arange(60), 5, seed, NAMES) for seed in (0, 1))
    assert np.any(first != second)


def test_a_class_of_too_few_different_images_is_named_with_the_way_out():
    labels = np.array([0] * 20 + [1] * 6)
    units = np.arange(26)
    units[20:24] = 20  # one image, four times
    with pytest.raises(SplitError) as caught:
        assign_folds(labels, units, 5, 0, NAMES)
    assert "too small for 5 folds: 'bee'" in str(caught.value)
    assert "Received: 3 of the smallest\nUse fewer folds (`folds=3`)" in str(caught.value)


def test_groups_that_hold_a_whole_class_are_an_error():
    """Two groups hold all of the second class, and three folds leave one without it."""
    labels = np.array([0] * 30 + [1] * 4)
    units = np.concatenate([np.arange(30), [50, 50, 51, 51]])
    with pytest.raises(SplitError, match="too small for 3 folds: 'bee'"):
        assign_folds(labels, units, 3, 0, NAMES)


def test_rows_that_choose_leave_every_class_some_to_train_on():
    labels = np.array([0] * 20 + [1] * 20 + [2])
    for seed in range(8):
        is_held = hold_some_out(labels, np.arange(41), 4, seed)
        assert set(labels[~is_held].tolist()) == {0, 1, 2}
        assert 9 <= is_held.sum() <= 11


@settings(max_examples=60)
@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=30),
    copies=st.integers(1, 5),
    n_parts=st.integers(2, 6),
)
def test_however_few_images_there_are_some_are_held_out_or_none(labels, copies, n_parts):
    labels = np.array(labels)
    units = np.arange(len(labels)) // copies
    for is_held in [
        hold_some_out(labels, units, n_parts, 0), *hold_out_in_turn(labels, units, n_parts, 0)
    ]:  # fmt: skip
        assert set(labels[~is_held]) == set(labels)
        assert not set(units[is_held]) & set(units[~is_held])
