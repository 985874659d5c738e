"""One temperature: found where it is known, and put into a head's weights."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.special import softmax

from pipeline.runs.calibration import apply_temperature, find_temperature, soften
from pipeline.runs.scores import mean_log_loss


def sure_by(times, n_right=75):
    """100 samples of two classes, 75 right: a sure share of 0.75 has the scores (ln 3, 0)."""
    labels = np.repeat([0, 1], [n_right, 100 - n_right])
    scores = np.tile(times * np.array([np.log(3), 0.0]), (100, 1))
    exponentials = np.exp(scores)
    return labels, exponentials / exponentials.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("times", [0.03, 0.5, 1.0, 3.0, 8.0])
def test_temperature_makes_a_network_as_sure_as_it_is_right(times):
    labels, probabilities = sure_by(times)
    temperature = find_temperature(labels, probabilities)
    assert temperature == pytest.approx(times, rel=1e-3)
    calibrated = apply_temperature(probabilities, temperature)
    np.testing.assert_allclose(calibrated[:, 0], 0.75, atol=1e-4)


def test_where_every_sample_is_right_the_temperature_is_one_of_that_many():
    """100 of 100: sure by 101 parts in 102 (Platt), which is odds of 101."""
    labels, probabilities = sure_by(1.0, n_right=100)
    temperature = find_temperature(labels, probabilities)
    assert temperature == pytest.approx(np.log(3) / np.log(101), rel=1e-3)
    calibrated = apply_temperature(probabilities, temperature)
    np.testing.assert_allclose(calibrated[:, 0], 101 / 102, atol=1e-4)


def test_a_network_that_is_right_and_surer_than_that_is_left_alone():
    labels, probabilities = sure_by(8.0, n_right=100)
    assert find_temperature(labels, probabilities) == 1.0


def test_there_is_no_best_temperature_where_most_samples_are_wrong():
    labels, probabilities = sure_by(1.0, n_right=25)
    assert find_temperature(labels, probabilities) == 1.0


@pytest.mark.parametrize("kind", ["linear", "dense"])
def test_softened_head_gives_what_the_temperature_gives(kind):
    layers = [keras.layers.Dense(4, activation="softmax")]
    if kind == "dense":
        layers.insert(0, keras.layers.Dense(6, activation="relu"))
    head = keras.Sequential([keras.Input((5,)), *layers]) if kind == "dense" else layers[0]
    features = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)
    before = np.asarray(head(features), np.float64)
    soften(head, 2.5)
    expected = before ** (1 / 2.5)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(head(features)), expected, atol=1e-6)


@given(
    hnp.arrays(np.float64, (12, 3), elements=st.floats(-200, 200)),
    hnp.arrays(np.int64, 12, elements=st.integers(0, 2)),
)
@settings(max_examples=60, deadline=None)
def test_calibration_never_raises_the_log_loss_that_is_reported(scores, labels):
    probabilities = softmax(scores, axis=1).astype(np.float32)
    temperature = find_temperature(labels, probabilities)
    before = mean_log_loss(labels, probabilities)
    after = mean_log_loss(labels, apply_temperature(probabilities, temperature))
    assert after < before or (temperature == 1 and after == before)
