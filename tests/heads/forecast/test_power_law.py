"""The piecewise power law, against its formula."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.heads.forecast.power_law import carry_on

SIZES = np.array([25, 50, 100, 200, 400, 800, 1600.0])
AHEAD = np.array([3200, 6400.0])
EQUAL = np.full(len(SIZES), 1e-6)


@given(st.floats(-1, 0), st.floats(0.05, 0.9))
@settings(deadline=None, max_examples=30)
def test_a_power_law_is_carried_on(power, share):
    errors = share * (SIZES / SIZES[0]) ** power
    found = carry_on(SIZES, np.log(errors)[None], EQUAL, AHEAD)[0]
    assert np.exp(found) == pytest.approx(share * (AHEAD / SIZES[0]) ** power, rel=1e-6)


@given(st.floats(-0.9, -0.1), st.sampled_from([50.0, 100.0, 200.0, 400.0]), st.floats(-0.3, 0.3))
@settings(deadline=None, max_examples=30)
def test_a_bend_among_few_images_does_not_lead_the_line_astray(power, bend, curved):
    def law(sizes):
        x = np.log(sizes)
        return -1 + power * x + curved * np.minimum(x - np.log(bend), 0) ** 2

    found = carry_on(SIZES, law(SIZES)[None], EQUAL, AHEAD)[0]
    assert found == pytest.approx(law(AHEAD), abs=0.02)


@given(st.lists(st.floats(-5, 0), min_size=7, max_size=7))
@settings(deadline=None, max_examples=30)
def test_whatever_was_measured_more_images_never_harm_nor_bring_more_than_their_share(logarithms):
    found = carry_on(SIZES, np.array([logarithms]), np.ones(len(SIZES)), AHEAD)[0]
    assert -np.log(2) - 1e-9 <= found[1] - found[0] <= 1e-9


def test_each_curve_is_carried_on_by_itself():
    curves = np.log([0.3 * SIZES**-0.2, 0.9 * SIZES**-0.5])
    both = carry_on(SIZES, curves, EQUAL, AHEAD)
    assert both[1] == pytest.approx(carry_on(SIZES, curves[1:], EQUAL, AHEAD)[0])
