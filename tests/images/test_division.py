import hashlib

import numpy as np
import pytest

from pipeline.errors import SplitError
from pipeline.images.division import assign_splits
from pipeline.images.split_rules import RULES
from pipeline.images.splits import find_conflicts, find_equal_images, find_straddlers

NAMES = ["a", "b"]


@pytest.fixture(params=RULES)
def rule(request):
    return request.param


def _digests(n, salt=""):
    data = b"".join(hashlib.sha256(f"{salt}{i}".encode()).digest() for i in range(n))
    return np.frombuffer(data, np.uint8).reshape(n, 32)


def _assign(digests, labels, given=None, **options):
    given = np.full(len(labels), -1, np.int8) if given is None else given
    return assign_splits(digests, np.asarray(labels, np.int32), given, NAMES, **options)


def test_new_class_too_small_at_first_is_divided_once_it_is_large_enough(rule):
    digests, labels = _digests(30), np.array([0] * 24 + [1] * 6)
    arrivals = np.array([0] * 24 + [1, 2, 3, 4, 5, 6])
    with pytest.raises(SplitError, match="'b' is too small"):
        _assign(digests[:25], labels[:25], arrivals=arrivals[:25], rule=rule)
    for n in range(26, 31):
        splits = _assign(digests[:n], labels[:n], arrivals=arrivals[:n], rule=rule)
        assert {0, 1} == set(splits[24:n].tolist())


def test_equal_images_with_two_labels_are_in_one_split_and_found(rule):
    digests = np.concatenate([_digests(40), _digests(1)])
    labels = np.array([0] * 20 + [1] * 20 + [1])
    splits = _assign(digests, labels, rule=rule)
    assert splits[0] == splits[40]
    assert find_conflicts(digests, labels) == [[0, 40]]
    assert find_equal_images(digests) == [[0, 40]]
    assert find_conflicts(digests, np.zeros(41, int)) == []


def test_equal_images_share_a_split_for_every_seed(rule):
    digests = np.concatenate([_digests(60), _digests(60)])
    labels = np.arange(120) % 2
    for seed in range(20):
        splits = _assign(digests, labels, seed=seed, rule=rule)
        assert np.array_equal(splits[:60], splits[60:])
        assert find_straddlers(digests, splits) == []


def test_no_class_is_without_an_image_in_a_split_by_chance(rule):
    for seed in range(200):
        splits = _assign(_digests(6), [0, 0, 0, 1, 1, 1], test_fraction=0.1, seed=seed, rule=rule)
        for label in (slice(0, 3), slice(3, 6)):
            assert sorted(splits[label].tolist()) == [0, 1, 2]


def _divide_at_random(number, n_splits, rule):
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
        rule=rule,
    )
    return labels, splits


@pytest.mark.parametrize("n_splits", [2, 3])
def test_to_fill_one_class_empties_no_other_that_shares_its_groups(n_splits, rule):
    n_divided = 0
    for number in range(1000):
        try:
            labels, splits = _divide_at_random(number, n_splits, rule)
        except SplitError as error:
            assert "too small" in str(error) or "another `seed`" in str(error)
            continue
        n_divided += 1
        for label in np.unique(labels):
            assert set(splits[labels == label].tolist()) == set(range(n_splits)), number
    assert n_divided > 500


def test_classes_that_cannot_all_be_divided_are_an_error_that_says_what_to_do(rule):
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
                rule=rule,
            )


def test_class_too_small_is_named(rule):
    with pytest.raises(SplitError, match="'b' is too small"):
        _assign(_digests(5), [0, 0, 0, 0, 1], rule=rule)
    copies = np.concatenate([_digests(4), np.repeat(_digests(1, "x"), 3, axis=0)])
    with pytest.raises(SplitError, match="Received: 1"):
        _assign(copies, [0, 0, 0, 0, 1, 1, 1], rule=rule)


def test_all_classes_that_are_too_small_are_counted_and_three_are_named(rule):
    """Of 206 classes 6 have one image, and the rest have enough."""
    labels = np.append(np.repeat(np.arange(200), 4), np.arange(200, 206)).astype(np.int32)
    names = [f"c{n:03d}" for n in range(206)]
    none = np.full(len(labels), -1, np.int8)
    with pytest.raises(SplitError) as caught:
        assign_splits(_digests(len(labels)), labels, none, names, rule=rule, test_fraction=0.2)
    assert str(caught.value) == (
        "6 classes ('c200', 'c201', 'c202' and 3 more) are too small to be split. Expected at "
        "least 3 different images of each class, one each for train, val, test. Received: 1\n"
        "Add images; or leave out classes that are so small: "
        "`frostline.fit_head(FEATURES, drop_small=3)`"
    )


def test_groups_are_spoken_of_only_where_there_are_some(rule):
    keys, labels = _digests(6)[[0, 1, 2, 3, 4, 5, 5]], np.array([0] * 5 + [1] * 2, np.int32)
    none = np.full(7, -1, np.int8)
    with pytest.raises(SplitError, match="at least 2 groups of each class"):
        assign_splits(keys, labels, none, NAMES, rule=rule, has_groups=True)
    with pytest.raises(SplitError) as caught:
        assign_splits(keys, labels, none, NAMES, rule=rule)
    assert "group" not in str(caught.value)


def test_given_splits_win_and_a_missing_val_is_carved_out_of_train(rule):
    given = np.array([0] * 80 + [2] * 20, np.int8)
    splits = _assign(_digests(100), np.arange(100) % 2, given, rule=rule)
    assert np.all(splits[80:] == 2)
    assert set(splits[:80].tolist()) == {0, 1}
    given = np.array([0] * 80 + [1] * 20, np.int8)
    assert np.array_equal(_assign(_digests(100), np.arange(100) % 2, given, rule=rule), given)


def test_images_without_a_label_are_in_no_split(rule):
    splits = _assign(_digests(50), [-1] * 10 + [0] * 20 + [1] * 20, rule=rule)
    assert np.all(splits[:10] == -1)
    assert np.all(splits[10:] >= 0)


def test_equal_images_across_given_splits_are_found():
    digests = np.concatenate([_digests(3), _digests(1)])
    assert find_straddlers(digests, np.array([0, 0, 0, 1])) == [[0, 3]]


@pytest.mark.parametrize("val,test", [(0, 0), (1, 0), (0.6, 0.5), (-0.1, 0)])
def test_fractions_that_leave_nothing_are_refused(val, test):
    with pytest.raises(SplitError, match="`val_fraction"):
        _assign(_digests(20), np.arange(20) % 2, val_fraction=val, test_fraction=test)
