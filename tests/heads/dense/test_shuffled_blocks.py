"""Tests of drawing rows in new order, block by block."""

import numpy as np
import pytest

from pipeline.heads.dense import shuffled_blocks
from pipeline.heads.dense.shuffled_blocks import draw_blocks

N_SAMPLES, N_FEATURES = 5000, 8


@pytest.fixture
def features():
    return np.arange(N_SAMPLES * N_FEATURES, dtype=np.float32).reshape(N_SAMPLES, N_FEATURES)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Pieces of 10 rows, blocks of about 400: as many as of much larger features."""
    monkeypatch.setattr(shuffled_blocks, "PIECE_BYTES", 10 * 4 * N_FEATURES)
    monkeypatch.setattr(shuffled_blocks, "BLOCK_BYTES", 400 * 4 * N_FEATURES)


def draw(features, chosen, seed=0):
    return list(draw_blocks(features, chosen, np.random.default_rng(seed)))


def test_each_chosen_row_comes_once_with_its_number(features):
    chosen = np.arange(N_SAMPLES) % 3 > 0
    blocks = draw(features, chosen)
    numbers = np.concatenate([numbers for _, numbers in blocks])
    np.testing.assert_array_equal(np.sort(numbers), np.flatnonzero(chosen))
    for rows, numbers_of in blocks:
        np.testing.assert_array_equal(rows, features[numbers_of])


def test_blocks_are_no_larger_than_memory_should_hold(features):
    sizes = [len(rows) for rows, _ in draw(features, np.ones(N_SAMPLES, bool))]
    assert len(sizes) == 13
    assert max(sizes) <= 400


def test_rows_that_lie_together_are_spread_over_blocks_and_within_them(features):
    labels = np.arange(N_SAMPLES) // 1000  # five classes, one after another
    for _, numbers in draw(features, np.ones(N_SAMPLES, bool)):
        counts = np.bincount(labels[numbers], minlength=5)
        assert counts.max() < 2.5 * 400 / 5
        halves = np.bincount(labels[numbers[:200]], minlength=5)
        # Half of a class in half of the block, give or take four standard deviations.
        assert (np.abs(halves - counts / 2) <= 4 * np.sqrt(np.maximum(counts, 1)) / 2).all()


def test_the_order_is_the_seeds_and_another_in_each_epoch(features):
    def order(random):
        drawn = draw_blocks(features, np.ones(N_SAMPLES, bool), random)
        return np.concatenate([numbers for _, numbers in drawn])

    first, second = np.random.default_rng(1), np.random.default_rng(1)
    epochs = [order(first), order(first)]
    np.testing.assert_array_equal(epochs[0], order(second))
    assert np.mean(epochs[0] == epochs[1]) < 0.01


def test_pieces_without_chosen_rows_give_no_empty_blocks(features):
    chosen = np.arange(N_SAMPLES) == 4321
    [(rows, numbers)] = draw(features, chosen)
    assert numbers.tolist() == [4321]
    np.testing.assert_array_equal(rows, features[4321:4322])


def test_an_error_of_reading_reaches_the_caller(features):
    class Broken:
        shape, ndim = features.shape, 2

        def __getitem__(self, rows):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        draw(Broken(), np.ones(N_SAMPLES, bool))
