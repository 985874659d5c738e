"""Whether the band holds what it promises, where the truth is known."""

import numpy as np
import pytest

from pipeline.heads.forecast.band import find_draw_variance, forecast_curve
from pipeline.heads.forecast.learning_curve import LearningCurve

N_IMAGES, N_SCORED, N_DRAWS = 800, 200, 8
SIZES = [25, 50, 100, 200, 400]


def make_world(seed, power, noise, n_scored=N_SCORED):
    """A curve of 400 of 800 training images, and the accuracy of all of them.

    Each training image moves the error of a head by what it is worth, and a head's error is the
    mean of that over its images beside a power law; a scored image is wrong where the error is
    above how easy it is.
    """
    random = np.random.default_rng(seed)
    worth, ease = random.normal(0, noise, N_IMAGES), random.random(n_scored)

    def right(images):
        error = 0.9 * len(images) ** power + worth[images].mean()
        return ease >= error

    is_right = np.empty((N_DRAWS, len(SIZES), n_scored), bool)
    for draw in range(N_DRAWS):
        order = random.permutation(SIZES[-1])
        for place, size in enumerate(SIZES):
            is_right[draw, place] = right(order[:size])
    curve = LearningCurve(SIZES, is_right, np.ones((N_DRAWS, n_scored), bool), True)
    return curve, right(np.arange(N_IMAGES)).mean()


@pytest.mark.parametrize(("power", "noise"), [(-0.25, 0.3), (-0.5, 0.1)])
def test_the_band_holds_the_result_of_twice_the_images_and_is_narrow(power, noise):
    n_held, widths, ways = 0, [], []
    for seed in range(24):
        curve, truth = make_world(seed, power, noise)
        band = forecast_curve(curve, np.array([N_IMAGES]), seed)
        n_held += band.low[0] - 1e-9 <= truth <= band.high[0] + 1e-9
        widths.append(band.high[0] - band.low[0])
        ways.append(1 - curve.accuracies[0, -1])
    assert n_held >= 21
    assert np.mean(widths) < 0.75 * np.mean(ways)  # of all that it might become


def test_variance_of_draws_is_that_of_the_images():
    worlds = [make_world(seed, -0.25, 0.3, n_scored=4000)[0] for seed in range(12)]
    assert np.mean([find_draw_variance(curve) for curve in worlds]) == pytest.approx(0.09, rel=0.3)


def test_further_ahead_the_band_is_wider():
    curve, _ = make_world(0, -0.25, 0.3)
    band = forecast_curve(curve, np.array([500, 800, 1600]), 0)
    assert np.all(np.diff(band.high - band.low) > 0)
    assert np.all((band.low <= band.mean) & (band.mean <= band.high))


@pytest.mark.parametrize("is_right", [True, False])
def test_heads_that_are_always_right_or_always_wrong_have_a_band_within_0_and_1(is_right):
    all_alike = np.full((N_DRAWS, len(SIZES), N_SCORED), is_right)
    curve = LearningCurve(SIZES, all_alike, np.ones((N_DRAWS, N_SCORED), bool), True)
    band = forecast_curve(curve, np.array([800]), 0)
    assert 0 <= band.low[0] <= band.mean[0] <= band.high[0] <= 1
    assert band.low[0] <= float(is_right) <= band.high[0]
