"""Which images a map shows, and that it can be drawn of whatever features there are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.report.gathering.feature_map import choose_points, draw_map


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), st.integers(1, 120), st.integers(0, 400), st.integers(0, 2**32 - 1))
def test_of_many_images_the_important_ones_are_chosen_and_each_once(n, most, n_important, seed):
    random = np.random.default_rng(seed)
    known = np.flatnonzero(random.random(n) < 0.8)
    important = random.permutation(n)[:n_important]
    chosen = choose_points(known, important, most)
    assert len(chosen) == min(len(known), most) == len(set(chosen.tolist()))
    assert set(chosen) <= set(known)
    wanted = set(important) & set(known)
    assert wanted <= set(chosen) or set(chosen) <= wanted


@pytest.mark.parametrize(
    "features",
    [
        np.zeros((1, 5)),
        np.zeros((2, 5)),
        np.zeros((40, 5)),
        np.ones((40, 1)),
        np.arange(30)[:, None] * np.ones(3),
        np.random.default_rng(0).normal(size=(25, 3000)),
    ],
    ids=["one image", "two", "all the same", "one feature", "a line", "very wide"],
)
def test_a_map_is_drawn_of_whatever_features_there_are(features):
    features = features.astype(np.float32)
    places = draw_map(lambda rows: features[rows], np.arange(len(features)))
    assert places.shape == (len(features), 2)
    assert np.isfinite(places).all() and places.min() >= 0 and places.max() <= 1
