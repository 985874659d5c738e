"""Typical images stand for all kinds; doubtful ones lie between classes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.features.choose_images import choose_doubtful, choose_typical


def make_kinds(sizes, seed=0, n_features=8):
    """Kinds of images in directions of their own, a strange one at the end of each."""
    rng = np.random.default_rng(seed)
    rows, kinds = [], []
    for kind, size in enumerate(sizes):
        center = np.zeros(n_features)
        center[kind] = 10
        rows.append(center + rng.normal(size=(size, n_features)) * 0.5)
        rows[-1][-1] += 3 * rng.normal(size=n_features)
        kinds += [kind] * size
    return np.concatenate(rows).astype(np.float32), np.array(kinds)


def test_one_of_each_kind_the_largest_first_and_none_that_is_strange():
    features, kinds = make_kinds([30, 20, 12, 8])
    chosen = choose_typical(features, 4, np.zeros(70, bool))
    assert kinds[chosen].tolist() == [0, 1, 2, 3]
    strange = np.cumsum([30, 20, 12, 8]) - 1
    assert not set(chosen.tolist()) & set(strange.tolist())


def test_kinds_that_have_a_label_come_last():
    features, kinds = make_kinds([30, 20, 12, 8])
    is_labelled = np.zeros(70, bool)
    is_labelled[[3, 31]] = True  # of the two largest kinds
    chosen = choose_typical(features, 2, is_labelled)
    assert sorted(kinds[chosen].tolist()) == [2, 3]


def test_each_adds_the_most_to_what_is_covered():
    features = np.random.default_rng(1).normal(size=(60, 5)).astype(np.float32)
    is_labelled = np.arange(60) % 10 == 0
    chosen = choose_typical(features, 6, is_labelled)
    unit = (features - features.mean(axis=0)) / features.std(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    unit -= unit.mean(axis=0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    near, free, known = unit @ unit.T, np.flatnonzero(~is_labelled), [*np.flatnonzero(is_labelled)]
    for row in chosen.tolist():
        sums = [near[np.ix_(free, [*known, other])].max(axis=1).sum() for other in free]
        assert row == free[int(np.argmax(sums))]
        known.append(row)


def test_doubtful_ones_have_the_least_margin():
    features, _ = make_kinds([20, 20])
    probabilities = np.tile([0.9, 0.1], (40, 1))
    doubtful = [4, 7, 25]
    probabilities[doubtful] = [0.5, 0.5]
    chosen = choose_doubtful(features, probabilities, 1, np.zeros(40, bool))
    assert len(chosen) == 1
    pool = np.argsort(probabilities[:, 0] - probabilities[:, 1], kind="stable")[:5]
    assert chosen[0] in pool


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 12), st.integers(0, 10), st.integers(0, 2**32 - 1), st.booleans())
def test_any_number_is_chosen_once_each_and_none_that_has_a_label(n, n_labelled, seed, copies):
    rng = np.random.default_rng(seed)
    features = rng.gamma(2, size=(30, 5)).astype(np.float32)
    if copies:
        features[:] = features[0]  # none adds anything to the first
    is_labelled = np.zeros(30, bool)
    is_labelled[rng.choice(30, n_labelled, replace=False)] = True
    chosen = choose_typical(features, n, is_labelled, seed=seed)
    assert len(set(chosen.tolist())) == n
    assert not is_labelled[chosen].any()
