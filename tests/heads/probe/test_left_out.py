"""Scores of a probe: without the image, its group, and luck that a difference may be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from pipeline.heads.probe.judge import compare
from pipeline.heads.probe.left_out import LeftOut, leave_each_out


def make_rows(n_images, n_classes, apart, n_features):
    random = np.random.default_rng(0)
    labels = np.arange(n_images) % n_classes
    rows = random.normal(size=(n_images, n_features)).astype(np.float32)
    rows[:, :n_classes] += apart * np.eye(n_classes)[labels]
    return rows, labels


def test_scores_are_those_of_fits_without_the_image():
    """Against scikit-learn, at each strength that may have been chosen."""
    rows, labels = make_rows(12, 3, 1.5, n_features=8)
    found = leave_each_out(rows, labels, np.arange(12))
    targets, centred = np.eye(3)[labels], rows - rows.mean(axis=0)
    greatest = np.linalg.eigvalsh(centred.T @ centred).max()
    by_strength = []
    for alpha in greatest * np.logspace(-6, 0.5, 25):
        scores = [
            Ridge(alpha=alpha)
            .fit(np.delete(rows, i, 0), np.delete(targets, i, 0))
            .predict(rows[[i]])
            for i in range(12)
        ]
        scores = np.concatenate(scores)
        error = np.square(scores - targets).sum()
        by_strength.append((error, scores.argmax(axis=1) == labels))
    _, is_right = min(by_strength, key=lambda one: one[0])
    np.testing.assert_array_equal(found.is_right, is_right)


def test_images_of_one_group_do_not_vouch_for_each_other():
    """Labels are tossed for pairs of equal images, so nothing can be known of either."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(100, 200)).astype(np.float32).repeat(2, axis=0)
    labels = random.integers(0, 2, 100).repeat(2)
    alone = leave_each_out(rows, labels, np.arange(200))
    together = leave_each_out(rows, labels, np.arange(100).repeat(2))
    assert alone.accuracy == 1.0
    assert 0.35 < together.accuracy < 0.65


def left_out(is_right, units=None):
    is_right = np.array(is_right, bool)
    units = np.arange(len(is_right)) if units is None else units
    return LeftOut(is_right, is_right.astype(float), np.array(units))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=60))
def test_the_interval_of_a_difference_is_that_of_bonett_and_price(pairs):
    """Their formula, in counts: n12 and n21 images that one alone has right."""
    one, other = np.array(pairs).T
    n = len(pairs)
    p12 = ((one & ~other).sum() + 1) / (n + 2)
    p21 = ((~one & other).sum() + 1) / (n + 2)
    reach = 1.959964 * np.sqrt((p12 + p21 - (p12 - p21) ** 2) / (n + 2))
    found = compare(left_out(one), left_out(other))
    assert found.mean == pytest.approx(one.mean() - other.mean())
    assert found.low == pytest.approx(p12 - p21 - reach, abs=1e-6)
    assert found.high == pytest.approx(p12 - p21 + reach, abs=1e-6)


def test_forty_images_of_one_group_are_not_forty_witnesses():
    better, worse = [True] * 40 + [False] * 40, [False] * 80
    apart = compare(left_out(worse), left_out(better))
    of_groups = compare(left_out(worse, [0] * 40 + [1] * 40), left_out(better, [0] * 40 + [1] * 40))
    assert apart.is_certainly_worse
    assert not of_groups.is_certainly_worse
