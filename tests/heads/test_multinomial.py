"""Tests of the regression over blocks: scikit-learn's numbers, in few passes over the rows."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pipeline.heads import training_rows
from pipeline.heads.logistic import fit_logistic_head
from pipeline.heads.multinomial import Regression, Rows
from pipeline.heads.training_rows import survey_rows


@pytest.fixture(autouse=True)
def one_thread_per_product():
    with threadpool_limits(1):
        yield


def make_rows(n_samples=600, n_features=30, n_classes=3, seed=0):
    """Clusters of features that go together: a few directions carry most of the variance."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, n_classes, n_samples)
    mixing = (
        random.standard_normal((n_features, n_features)) / np.arange(1, n_features + 1)[:, None]
    )
    inner = random.standard_normal((n_classes, n_features))[labels]
    features = (inner + 1.5 * random.standard_normal((n_samples, n_features))) @ mixing
    is_val = np.arange(n_samples) % 4 == 0
    return features.astype(np.float32), labels, ~is_val, is_val


def make_regression(features, labels, is_train, is_val, n_classes=3):
    survey = survey_rows(features, is_train)
    rows = Rows(features, labels, is_train, is_val, np.ones(n_classes))
    return Regression(rows, survey, survey.spread)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("C", [1e-3, 0.1, 10.0])
def test_coefficients_are_those_of_scikit_learn(n_classes, C):
    features, labels, is_train, is_val = make_rows(n_classes=n_classes)
    regression = make_regression(features, labels, is_train, is_val, n_classes)
    _, reached = regression.fit(C, 3e-5, 1000)
    assert reached
    scaled = StandardScaler().fit_transform(features[is_train].astype(np.float64))
    expected = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(scaled, labels[is_train])
    coef, intercept = regression.state.coef.T, regression.state.intercept
    if n_classes == 2:
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    greatest = np.abs(expected.coef_).max()
    np.testing.assert_allclose(coef, expected.coef_, atol=1e-3 * greatest)
    np.testing.assert_allclose(intercept, expected.intercept_, atol=1e-3 * greatest)


def test_small_blocks_give_the_probabilities_of_one_large_one(monkeypatch):
    features, labels, is_train, is_val = make_rows()
    rows = (features, labels, is_train, is_val, ["a", "b", "c"])
    whole = fit_logistic_head(*rows)
    monkeypatch.setattr(training_rows, "BLOCK_BYTES", 7 * 4 * 30)
    parts = fit_logistic_head(*rows)
    assert parts.C == whole.C
    difference = parts.head.predict_proba(features) - whole.head.predict_proba(features)
    assert np.abs(difference).max() < 1e-3


def test_going_on_from_a_neighbour_takes_fewer_iterations_than_from_nothing():
    rows = make_rows()
    warm = make_regression(*rows)
    warm.fit(0.1, 1e-4, 1000)
    n_warm, _ = warm.fit(0.12, 1e-4, 1000)
    n_cold, _ = make_regression(*rows).fit(0.12, 1e-4, 1000)
    assert n_warm < n_cold
    n_again, reached = warm.fit(0.12, 1e-4, 1000)
    assert (n_again, reached) == (0, True)


def test_a_path_takes_half_the_iterations_of_scikit_learns_solver_or_less():
    features, labels, is_train, is_val = make_rows(n_samples=2000, n_features=300)
    regression = make_regression(features, labels, is_train, is_val)
    plain = LogisticRegression(max_iter=10_000, warm_start=True)
    scaled = StandardScaler().fit_transform(features[is_train])
    ours = theirs = 0
    for C in (1e-4, 1e-3, 1e-2, 1e-1):
        n_iterations, reached = regression.fit(C, 1e-3, 1000)
        assert reached
        plain.set_params(C=C, tol=1e-3 * regression.state.scores.train_loss)
        plain.fit(scaled, labels[is_train])
        ours, theirs = ours + n_iterations, theirs + int(plain.n_iter_[0])
    assert 4 < ours <= theirs / 2
