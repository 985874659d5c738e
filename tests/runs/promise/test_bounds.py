"""Exact bounds of shares, against SciPy's binomial test and the definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from pipeline.runs.promise.bounds import count_needed, lower_bound, p_value


@given(st.integers(1, 400), st.floats(0, 1))
def test_lower_bound_is_that_of_clopper_and_pearson(n, part):
    n_right = round(part * n)
    expected = binomtest(n_right, n, alternative="greater").proportion_ci(0.95, method="exact").low
    assert lower_bound(n_right, n) == pytest.approx(expected, abs=1e-9)


@given(st.integers(1, 400), st.floats(0, 1), st.floats(0.5, 0.999))
def test_p_value_is_the_tail_of_the_binomial_and_agrees_with_the_bound(n, part, share):
    n_right = round(part * n)
    expected = binom.sf(n_right - 1, n, share)
    assert p_value(n_right, n, share) == pytest.approx(expected, abs=1e-9)
    if abs(expected - 0.05) > 1e-9:
        assert (lower_bound(n_right, n) > share) == (expected < 0.05)


@given(st.floats(0.5, 0.9999))
def test_so_many_images_and_no_fewer_can_show_a_share(share):
    n = count_needed(share)
    assert share**n <= 0.05 + 1e-9 < share ** (n - 1) + 2e-9


def test_numbers_that_one_finds_in_books():
    assert count_needed(0.98) == 149
    assert count_needed(0.95) == 59
    assert count_needed(0.5) == 5
    assert lower_bound(0, 10) == 0
    with pytest.raises(ValueError, match="n_right=3, n=2"):
        lower_bound(3, 2)
