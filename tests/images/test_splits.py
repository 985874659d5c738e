import hashlib

import numpy as np
import pytest

from pipeline.errors import SplitError
from pipeline.images.splits import (
    assign_splits,
    find_conflicts,
    find_equal_images,
    find_straddlers,
    hash_to_unit,
)

NAMES = ["a", "b"]


def _digests(n, salt=""):
    data = b"".join(hashlib.sha256(f"{salt}{i}".encode()).digest() for i in range(n))
    return np.frombuffer(data, np.uint8).reshape(n, 32)


def _assign(digests, labels, given=None, **options):
    given = np.full(len(labels), -1, np.int8) if given is None else given
    return assign_splits(digests, np.asarray(labels, np.int32), given, NAMES, **options)


def test_membership_is_the_hash_of_digest_and_seed_against_thresholds():
    digests = _digests(400)
    splits = _assign(digests, [0] * 200 + [1] * 200, val_fraction=0.3, test_fraction=0.1, seed=7)
    for digest, split in zip(digests, splits, strict=True):
        hashed = hashlib.sha256(digest.tobytes() + b"7").digest()
        u = int.from_bytes(hashed[:8], "big") / 2**64
        assert split == (1 if u < 0.3 else 2 if u < 0.4 else 0)


def test_adding_images_moves_none_that_was_there():
    digests = _digests(440)
    labels = np.arange(440) % 2
    for seed in range(20):
        before = _assign(digests[:400], labels[:400], seed=seed)
        after = _assign(digests, labels, seed=seed)
        assert np.array_equal(before, after[:400])


@pytest.mark.parametrize("fractions", [{}, {"val_fraction": 0.05, "test_fraction": 0.05}])
def test_a_tenth_more_images_move_none_even_where_chance_left_a_split_empty(fractions):
    """Classes of 20: at 5% about every third has no image in val by chance, and one is forced."""
    n_forced = n_naive_moves = 0
    for seed in range(200):
        digests = _digests(44, salt=seed)
        labels = np.arange(44) % 2
        arrivals = np.array([0] * 40 + [1] * 4)
        before = _assign(digests[:40], labels[:40], seed=seed, **fractions)
        after = _assign(digests, labels, seed=seed, arrivals=arrivals, **fractions)
        assert np.array_equal(before, after[:40])
        at_once = _assign(digests, labels, seed=seed, **fractions)
        n_naive_moves += not np.array_equal(before, at_once[:40])
        u = np.array([hash_to_unit(digest.tobytes(), seed) for digest in digests[:40]])
        n_forced += any((u[labels[:40] == label] >= fractions.get("val_fraction", 0.2)).all()
                        for label in (0, 1))  # fmt: skip
    assert n_forced > (40 if fractions else 0)
    assert n_naive_moves > (10 if fractions else 0)  # so the order of arrival matters


def test_growing_day_by_day_moves_none(seed=3):
    digests, labels = _digests(300), np.arange(300) % 2
    arrivals = np.arange(300) // 20
    previous = np.zeros(0, np.int8)
    for day in range(1, 15):
        n = 20 * (day + 1)
        splits = _assign(digests[:n], labels[:n], arrivals=arrivals[:n], seed=seed,
                         val_fraction=0.03)  # fmt: skip
        assert np.array_equal(splits[: len(previous)], previous)
        previous = splits


def test_new_class_too_small_at_first_is_divided_once_it_is_large_enough():
    digests, labels = _digests(30), np.array([0] * 24 + [1] * 6)
    arrivals = np.array([0] * 24 + [1, 2, 3, 4, 5, 6])
    with pytest.raises(SplitError, match="'b' is too small"):
        _assign(digests[:25], labels[:25], arrivals=arrivals[:25])
    for n in range(26, 31):
        splits = _assign(digests[:n], labels[:n], arrivals=arrivals[:n])
        assert {0, 1} == set(splits[24:n].tolist())


def test_equal_images_with_two_labels_are_in_one_split_and_found():
    digests = np.concatenate([_digests(40), _digests(1)])
    labels = np.array([0] * 20 + [1] * 20 + [1])
    splits = _assign(digests, labels)
    assert splits[0] == splits[40]
    assert find_conflicts(digests, labels) == [[0, 40]]
    assert find_equal_images(digests) == [[0, 40]]
    assert find_conflicts(digests, np.zeros(41, int)) == []


def test_equal_images_share_a_split_for_every_seed():
    digests = np.concatenate([_digests(60), _digests(60)])
    labels = np.arange(120) % 2
    for seed in range(20):
        splits = _assign(digests, labels, seed=seed)
        assert np.array_equal(splits[:60], splits[60:])
        assert find_straddlers(digests, splits) == []


def test_no_class_is_without_an_image_in_a_split_by_chance():
    for seed in range(200):
        splits = _assign(_digests(6), [0, 0, 0, 1, 1, 1], test_fraction=0.1, seed=seed)
        for label in (slice(0, 3), slice(3, 6)):
            assert sorted(splits[label].tolist()) == [0, 1, 2]


def _divide_at_random(number, n_splits):
    """Rows of a few groups that classes share: labels, and splits where they can be divided."""
    rng = np.random.default_rng(number)
    n_classes, n_groups, n_rows = (int(rng.integers(*ends)) for ends in ((2, 5), (3, 9), (10, 40)))
    labels = rng.integers(0, n_classes, n_rows).astype(np.int32)
    splits = assign_splits(
        _digests(n_groups, salt=number)[rng.integers(0, n_groups, n_rows)],
        labels,
        np.full(n_rows, -1, np.int8),
        list("abcd"[:n_classes]),
        arrivals=rng.integers(0, 1 + number % 2, n_rows).astype(np.int32),
        test_fraction=0.2 if n_splits == 3 else 0.0,
        seed=number,
    )
    return labels, splits


@pytest.mark.parametrize("n_splits", [2, 3])
def test_to_fill_one_class_empties_no_other_that_shares_its_groups(n_splits):
    n_divided = 0
    for number in range(1000):
        try:
            labels, splits = _divide_at_random(number, n_splits)
        except SplitError as error:
            assert "is too small" in str(error) or "another `seed`" in str(error)
            continue
        n_divided += 1
        for label in np.unique(labels):
            assert set(splits[labels == label].tolist()) == set(range(n_splits)), number
    assert n_divided > 500


def test_classes_that_cannot_all_be_divided_are_an_error_that_says_what_to_do():
    """Three groups, each in two of three classes: two splits are never enough."""
    keys = _digests(3)[[0, 1, 1, 2, 2, 0]]
    for seed in range(10):
        with pytest.raises(SplitError, match=r"has no image for (train|val): .*\n.*another `seed`"):
            assign_splits(
                keys,
                np.array([0, 0, 1, 1, 2, 2], np.int32),
                np.full(6, -1, np.int8),
                ["a", "b", "c"],
                seed=seed,
            )


def test_class_too_small_is_named():
    with pytest.raises(SplitError, match="'b' is too small"):
        _assign(_digests(5), [0, 0, 0, 0, 1])
    copies = np.concatenate([_digests(4), np.repeat(_digests(1, "x"), 3, axis=0)])
    with pytest.raises(SplitError, match="Received: 1"):
        _assign(copies, [0, 0, 0, 0, 1, 1, 1])


def test_given_splits_win_and_a_missing_val_is_carved_out_of_train():
    given = np.array([0] * 80 + [2] * 20, np.int8)
    splits = _assign(_digests(100), np.arange(100) % 2, given)
    assert np.all(splits[80:] == 2)
    assert set(splits[:80].tolist()) == {0, 1}
    given = np.array([0] * 80 + [1] * 20, np.int8)
    assert np.array_equal(_assign(_digests(100), np.arange(100) % 2, given), given)


def test_images_without_a_label_are_in_no_split():
    splits = _assign(_digests(50), [-1] * 10 + [0] * 20 + [1] * 20)
    assert np.all(splits[:10] == -1)
    assert np.all(splits[10:] >= 0)


def test_equal_images_across_given_splits_are_found():
    digests = np.concatenate([_digests(3), _digests(1)])
    assert find_straddlers(digests, np.array([0, 0, 0, 1])) == [[0, 3]]


@pytest.mark.parametrize("val,test", [(0, 0), (1, 0), (0.6, 0.5), (-0.1, 0)])
def test_fractions_that_leave_nothing_are_refused(val, test):
    with pytest.raises(SplitError, match="`val_fraction"):
        _assign(_digests(20), np.arange(20) % 2, val_fraction=val, test_fraction=test)
