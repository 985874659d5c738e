"""The nearest other images."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.heads.audit import neighbours as module
from pipeline.heads.audit.neighbours import find_neighbours


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(1, 15), st.integers(0, 10**6), st.integers(2, 9))
def test_neighbours_are_those_of_a_plain_comparison_of_all_with_all(n, k, seed, block):
    random = np.random.default_rng(seed)
    which = random.integers(0, max(1, n // 2), n)  # equal images are equal rows
    features = random.standard_normal((n, 5)).astype(np.float32)[which]
    digests = np.repeat(which.astype(np.uint8)[:, None], 32, axis=1)
    before = module._ROWS_PER_BLOCK, module._ROWS_PER_TILE
    module._ROWS_PER_BLOCK, module._ROWS_PER_TILE = block, block + 1
    try:
        found = find_neighbours(features, digests, n_nearest=k)
    finally:
        module._ROWS_PER_BLOCK, module._ROWS_PER_TILE = before
    units = features.astype(np.float64)
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-12)
    n_different = len(set(which.tolist()))
    assert found.rows.shape == found.cosines.shape == (n, min(k, n_different - 1))
    firsts = [which.tolist().index(one) for one in sorted(set(which.tolist()))]
    for row in range(n):
        others = [one for one in firsts if which[one] != which[row]]
        expected = np.sort(units[others] @ units[row])[::-1][:k]
        np.testing.assert_allclose(found.cosines[row], expected, atol=1e-4)
        assert set(found.rows[row].tolist()) <= set(others)
        assert len(set(found.rows[row].tolist())) == found.rows.shape[1]
        np.testing.assert_allclose(
            units[found.rows[row]] @ units[row], found.cosines[row], atol=1e-4
        )
