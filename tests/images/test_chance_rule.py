"""The rule of 0.1.0, which files and runs of then keep."""

import hashlib

import numpy as np
import pytest

from pipeline.images.chance_rule import hash_to_unit
from pipeline.images.division import assign_splits


def _digests(n, salt=""):
    data = b"".join(hashlib.sha256(f"{salt}{i}".encode()).digest() for i in range(n))
    return np.frombuffer(data, np.uint8).reshape(n, 32)


def _assign(digests, labels, **options):
    labels = np.asarray(labels, np.int32)
    given = np.full(len(labels), -1, np.int8)
    return assign_splits(digests, labels, given, ["a", "b"], rule="chance", **options)


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
