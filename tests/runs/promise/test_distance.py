"""Distances to what trained a head, against a plain double loop, and the share they refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.runs.promise.distance import (
    MOST_REFERENCES,
    Surroundings,
    count_needed_distances,
    find_greatest_distance,
    surround,
)


def cosine(a, b):
    return 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_distance_is_the_mean_of_the_three_nearest_cosines():
    rng = np.random.default_rng(0)
    features = rng.gamma(2, size=(40, 12)).astype(np.float32)
    found = surround(features, np.arange(30)).measure(features[30:])
    expected = [
        np.mean(sorted(cosine(row.astype(float), one.astype(float)) for one in features[:30])[:3])
        for row in features[30:]
    ]
    np.testing.assert_allclose(found, expected, atol=1e-3)  # references have 11 bits


def test_length_of_a_row_changes_nothing_and_a_row_of_zeros_is_far():
    rng = np.random.default_rng(1)
    features = rng.gamma(2, size=(20, 8)).astype(np.float32)
    around = surround(features, np.arange(20))
    np.testing.assert_allclose(around.measure(features), around.measure(1000 * features), atol=1e-5)
    assert around.measure(np.zeros((1, 8), np.float32)) == pytest.approx([1])


def test_references_are_measured_from_the_others():
    rng = np.random.default_rng(3)
    features = rng.gamma(2, size=(12, 8)).astype(np.float32)
    found = surround(features, np.arange(12)).measure_own()
    for row in range(12):
        others = surround(features, np.delete(np.arange(12), row))
        assert found[row] == pytest.approx(others.measure(features[row : row + 1])[0], abs=1e-3)
    assert len(surround(features, np.arange(1)).measure_own()) == 0


def test_of_many_rows_ten_thousand_are_kept():
    rng = np.random.default_rng(2)
    features = rng.gamma(2, size=(MOST_REFERENCES + 500, 4)).astype(np.float32)
    around = surround(features, np.arange(len(features)))
    assert around.references.shape == (MOST_REFERENCES, 4)
    assert around.references.dtype == np.float16
    assert isinstance(around, Surroundings)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.02, 0.05, 0.1]))
def test_new_image_is_refused_no_more_often_than_asked_for(seed, unlike):
    """Whatever the distances are: the last of n + 1 is above the limit as often as any other."""
    rng = np.random.default_rng(seed)
    n = count_needed_distances(unlike) + int(rng.integers(0, 60))
    distances = rng.gamma(1, size=n + 1)
    refused = [
        distances[i] > find_greatest_distance(np.delete(distances, i), unlike) for i in range(n + 1)
    ]
    assert np.mean(refused) <= unlike


@pytest.mark.parametrize(("unlike", "n"), [(0.02, 49), (0.05, 19), (0.1, 9)])
def test_with_one_image_fewer_there_is_no_such_distance(unlike, n):
    assert count_needed_distances(unlike) == n
    assert find_greatest_distance(np.arange(n), unlike) == n - 1
    assert find_greatest_distance(np.arange(n - 1), unlike) is None
