"""Which training images are drawn, and how many."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SplitError
from pipeline.heads.forecast.draws import list_sizes, order_images, require_enough


@given(st.lists(st.integers(1, 60), min_size=2, max_size=6), st.integers(0, 99))
@settings(deadline=None, max_examples=50)
def test_any_first_part_of_a_draw_has_of_each_class_its_share(counts, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    order = order_images(labels, np.arange(len(labels)), np.random.default_rng(seed))
    assert sorted(order) == list(range(len(labels)))
    for n in range(len(counts), len(labels) + 1):
        had = np.bincount(labels[order[:n]], minlength=len(counts))
        assert had.min() >= 1
        assert np.all(np.abs(had - n * np.array(counts) / len(labels)) <= len(counts) + 1)


@given(st.lists(st.integers(0, 9), min_size=10, max_size=40), st.integers(0, 99))
@settings(deadline=None, max_examples=50)
def test_equal_images_stay_together(units, seed):
    units = np.array(units)
    order = order_images(np.arange(len(units)) % 2, units, np.random.default_rng(seed))
    n_changes = int((np.diff(units[order]) != 0).sum())
    assert n_changes == len(np.unique(units)) - 1


def test_sizes_halve_down_to_five_images_a_class():
    assert list_sizes(400, 5, 2.0) == [25, 50, 100, 200, 400]
    assert list_sizes(100_000, 2, 2.0)[0] == 100_000 / 32  # further off nothing tells of ahead


def test_too_few_images_are_refused_with_how_many_it_takes():
    with pytest.raises(SplitError, match="at least 20 of each class on average"):
        list_sizes(99, 5, 2.0)
    assert list_sizes(100, 5, 2.0) == [25, 50, 100]


def test_a_class_of_four_images_is_refused_by_name():
    with pytest.raises(SplitError, match="'rare'") as raised:
        require_enough(np.array([0] * 50 + [1] * 4), ["many", "rare"])
    assert "Received: 4 of" in str(raised.value)
