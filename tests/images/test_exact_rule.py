"""Shares to one image, and an image's split for ever: for any classes, arrivals and fractions."""

import hashlib
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.images.division import assign_splits
from pipeline.images.exact_rule import Roster, divide_exactly
from pipeline.images.splits import SPLITS, TEST, TRAIN, VAL

FRACTIONS = st.tuples(st.floats(0.01, 0.45), st.sampled_from([0.0, 0.02, 0.1, 0.2, 0.3, 0.45]))
SEEDS = st.integers(0, 2**32 - 1)


def _digests(n, salt=""):
    data = b"".join(hashlib.sha256(f"{salt}{i}".encode()).digest() for i in range(n))
    return np.frombuffer(data, np.uint8).reshape(n, 32)


def _divide(labels, fractions, seed=0, arrivals=None, salt=""):
    """Splits of images without groups, int8 (n_samples,)."""
    labels = np.asarray(labels, np.int32)
    val, test = fractions
    return assign_splits(
        _digests(len(labels), salt),
        labels,
        np.full(len(labels), -1, np.int8),
        [f"class {n}" for n in range(labels.max() + 1)],
        arrivals=arrivals,
        val_fraction=val,
        test_fraction=test,
        seed=seed,
    )


def _count(splits, labels):
    """Images of each class in train, val and test."""
    labels = np.asarray(labels)
    return np.array(
        [[np.sum(splits[labels == n] == s) for s in range(3)] for n in range(labels.max() + 1)]
    )


def _require_shares(counts, fractions):
    """To one image each; of a share below one image, one."""
    val, test = fractions
    for n_train, n_val, n_test in counts.tolist():
        n = n_train + n_val + n_test
        assert n_val >= 1
        assert abs(n_val - val * n) < 1 + 1e-6
        assert n_test >= (test > 0)
        assert abs(n_test - test * n) < 1 + 1e-6
        assert n_train >= 1
        is_forced = (n_val == 1) + (n_test == 1)
        assert abs(n_train - (1 - val - test) * n) < 1 + is_forced + 1e-6


@settings(max_examples=150, deadline=None, database=None)
@given(st.lists(st.integers(3, 60), min_size=2, max_size=5), FRACTIONS, SEEDS)
def test_each_class_has_its_shares_to_one_image_and_an_image_in_each_split(sizes, fractions, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    _require_shares(_count(_divide(labels, fractions, seed), labels), fractions)


@settings(max_examples=100, deadline=None, database=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=12), FRACTIONS, SEEDS)
def test_shares_hold_after_each_arrival_and_no_arrival_moves_an_image(sizes, fractions, seed):
    """Two classes that grow by these numbers: one of them image by image, as well."""
    first = [3, *sizes]
    arrivals = np.repeat(np.arange(len(first)), first)
    labels = np.zeros(len(arrivals), np.int32)
    slow = np.repeat(np.arange(len(first)), [3] + [1] * len(sizes))
    arrivals, labels = np.concatenate([arrivals, slow]), np.append(labels, np.ones(len(slow), int))
    order = np.argsort(arrivals, kind="stable")
    arrivals, labels = arrivals[order], labels[order]
    before = np.zeros(0, np.int8)
    for last in range(len(first)):
        n = int(np.sum(arrivals <= last))
        splits = _divide(labels[:n], fractions, seed, arrivals[:n])
        assert np.array_equal(splits[: len(before)], before)
        _require_shares(_count(splits, labels[:n]), fractions)
        before = splits


@pytest.mark.parametrize(
    ("n_classes", "size", "fractions", "expected"),
    [
        (1200, 4, (0.2, 0.2), (2, 1, 1)),
        (2, 150, (0.2, 0.0), (120, 30, 0)),
        (50, 20, (0.2, 0.0), (16, 4, 0)),
        (50, 20, (0.2, 0.2), (12, 4, 4)),
        (30, 10, (0.1, 0.1), (8, 1, 1)),
        (5, 100, (0.29, 0.0), (71, 29, 0)),  # 0.29 * 100 is 28.999999999999996
        (5, 3, (0.01, 0.01), (1, 1, 1)),
        (5, 2, (0.45, 0.0), (1, 1, 0)),
    ],
)
def test_even_numbers_are_met_exactly(n_classes, size, fractions, expected):
    labels = np.repeat(np.arange(n_classes), size)
    for seed in range(3):
        counts = _count(_divide(labels, fractions, seed), labels)
        assert {tuple(row) for row in counts.tolist()} == {expected}


@pytest.mark.parametrize(
    ("size", "fractions"), [(12, (0.2, 0.0)), (13, (0.2, 0.2)), (25, (0.1, 0.1))]
)
def test_many_classes_whose_shares_are_no_whole_numbers_have_them_together(size, fractions):
    """Always rounding down would give 12 images of a class 16.7% instead of 20%."""
    labels = np.repeat(np.arange(1000), size)
    shares = _count(_divide(labels, fractions), labels).sum(axis=0) / len(labels)
    val, test = fractions
    # Each class is off by less than one image, so of a thousand the mean has an error below this.
    np.testing.assert_allclose(shares, (1 - val - test, val, test), atol=3 * 0.5 / size / 1000**0.5)


def test_each_image_is_as_likely_as_another_to_be_in_a_split():
    labels = np.zeros(20, np.int32)
    counts = np.zeros((20, 3), int)
    n_seeds = 1500
    for seed in range(n_seeds):
        splits = _divide(labels, (0.2, 0.1), seed)
        counts[np.arange(20), splits] += 1
    for split, share in ((TRAIN, 0.7), (VAL, 0.2), (TEST, 0.1)):
        error = (share * (1 - share) / n_seeds) ** 0.5
        assert np.abs(counts[:, split] / n_seeds - share).max() < 4.5 * error, SPLITS[split]


def test_a_hundred_thousand_images_are_divided_in_a_few_seconds():
    labels = np.arange(100_000) % 700
    started = time.process_time()
    splits = _divide(labels, (0.2, 0.1))
    assert time.process_time() - started < 5
    _require_shares(_count(splits, labels), (0.2, 0.1))


@st.composite
def _groups(draw):
    """Units of a few classes: for each the arrival, and how many images of which classes."""
    n_classes = draw(st.integers(2, 4))
    by_class = st.dictionaries(
        st.integers(0, n_classes - 1), st.integers(1, 8), min_size=1, max_size=2
    )
    units = draw(st.lists(st.tuples(st.integers(0, 3), by_class), min_size=3, max_size=30))
    return n_classes, units


def _enroll(n_classes, units, salt="group"):
    """A roster in which each unit's images came together."""
    keys = _digests(len(units), salt)
    rows = [
        (unit, arrival, label)
        for unit, (arrival, by_class) in enumerate(units)
        for label, n in by_class.items()
        for _ in range(n)
    ]
    unit_of, arrivals, labels = np.array(rows, np.int32).T
    digests = _digests(len(rows), salt + "image")
    names = [f"class {n}" for n in range(n_classes)]
    return Roster(keys[unit_of], digests, labels, arrivals, names)


@settings(max_examples=150, deadline=None, database=None)
@given(_groups(), FRACTIONS, SEEDS)
def test_groups_of_one_class_have_their_shares_to_the_largest_group(groups, fractions, seed):
    n_classes, units = groups
    units = [(0, dict([next(iter(by_class.items()))])) for _, by_class in units]
    asked = {VAL: fractions[0], **({TEST: fractions[1]} if fractions[1] else {})}
    roster = _enroll(n_classes, units)
    split_of = divide_exactly(roster, asked, seed)
    for label in range(n_classes):
        rows = np.flatnonzero(roster.classes == label)
        largest = max((by_class.get(label, 0) for _, by_class in units), default=0)
        held = Counter(split_of[roster.keys[row].tobytes()] for row in rows)
        n_units = len({roster.keys[row].tobytes() for row in rows})
        assert len(held) >= min(1 + len(asked), n_units)
        for split, share in asked.items():
            assert abs(held[split] - share * len(rows)) <= largest + 1


@settings(max_examples=150, deadline=None, database=None)
@given(_groups(), FRACTIONS, SEEDS)
def test_later_groups_and_more_images_of_old_ones_move_none(groups, fractions, seed):
    n_classes, units = groups
    asked = {VAL: fractions[0], **({TEST: fractions[1]} if fractions[1] else {})}
    roster = _enroll(n_classes, units)
    whole = divide_exactly(roster, asked, seed)
    for last in range(3):
        rows = np.flatnonzero(roster.arrivals <= last)
        part = Roster(
            roster.keys[rows],
            roster.digests[rows],
            roster.classes[rows],
            roster.arrivals[rows],
            roster.class_names,
        )
        for key, split in divide_exactly(part, asked, seed).items():
            assert whole[key] == split


def test_a_large_group_does_not_fill_a_small_split_where_small_ones_can():
    """One patient with 500 photos and nine with 1: val is never the 500."""
    units = [(0, {0: 500})] + [(0, {0: 1})] * 9
    for seed in range(50):
        roster = _enroll(1, units)
        split_of = divide_exactly(roster, {VAL: 0.2}, seed)
        assert split_of[roster.keys[0].tobytes()] == TRAIN
        assert VAL in split_of.values()


def test_copies_of_an_image_count_once_and_come_and_go_without_moving_another():
    labels = np.zeros(30, np.int32)
    digests = _digests(30)
    rows = np.append(np.arange(30), [3, 3, 3, 3, 7, 7])
    names = ["a"]
    alone = divide_exactly(Roster(digests, digests, labels, labels, names), {VAL: 0.3}, 5)
    zeros = np.zeros(36, np.int32)
    copied = Roster(digests[rows], digests[rows], zeros, zeros, names)
    assert divide_exactly(copied, {VAL: 0.3}, 5) == alone
    assert sum(split == VAL for split in alone.values()) == 9
