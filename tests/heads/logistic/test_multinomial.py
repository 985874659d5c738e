"""Tests of the regression over blocks: scikit-learn's numbers, in few passes over the rows."""

import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from pipeline.heads.logistic.fitting import fit_logistic_head
from pipeline.heads.logistic.multinomial import Regression, Rows, _compare
from pipeline.heads.rows import training_rows
from pipeline.heads.rows.training_rows import survey_rows


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
    _, reached = regression.fit(C, 1e-10, 1000)
    assert reached
    scaled = StandardScaler().fit_transform(features[is_train].astype(np.float64))
    expected = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(scaled, labels[is_train])
    coef, intercept = regression.state.coef.T, regression.state.intercept
    if n_classes == 2:
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    greatest = np.abs(expected.coef_).max()
    np.testing.assert_allclose(coef, expected.coef_, atol=1e-3 * greatest)
    np.testing.assert_allclose(intercept, expected.intercept_, atol=1e-3 * greatest)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("C", [1e-3, 0.1, 10.0])
def test_probabilities_at_a_tight_tolerance_are_those_of_scikit_learn(n_classes, C):
    features, labels, is_train, is_val = make_rows(n_classes=n_classes)
    regression = make_regression(features, labels, is_train, is_val, n_classes)
    regression.fit(C, 1e-15, 10_000)
    scaler = StandardScaler().fit(features[is_train].astype(np.float64))
    scaled = scaler.transform(features.astype(np.float64))
    solver = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    expected = solver.fit(scaled[is_train], labels[is_train]).predict_proba(scaled)
    found = softmax(scaled @ regression.state.coef + regression.state.intercept, axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


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
    warm.fit(0.1, 1e-6, 1000)
    n_warm, _ = warm.fit(0.12, 1e-6, 1000)
    n_cold, _ = make_regression(*rows).fit(0.12, 1e-6, 1000)
    assert n_warm < n_cold
    n_again, reached = warm.fit(0.12, 1e-6, 1000)
    assert (n_again, reached) == (0, True)


def find_objective(features, labels, coef, intercept, C):
    """Scikit-learn's: half of the sum of squares, and C times the sum of losses."""
    scores = features @ coef.T + intercept
    return 0.5 * np.square(coef).sum() + C * log_loss(
        labels, softmax(scores, axis=1), normalize=False
    )


def test_a_path_takes_half_the_iterations_of_scikit_learns_solver_or_less():
    features, labels, is_train, is_val = make_rows(n_samples=2000, n_features=300)
    regression = make_regression(features, labels, is_train, is_val)
    plain = LogisticRegression(max_iter=10_000, warm_start=True)
    scaled = StandardScaler().fit_transform(features[is_train].astype(np.float64))
    ours = theirs = 0
    for C in (1e-4, 1e-3, 1e-2, 1e-1):
        n_iterations, reached = regression.fit(C, 1e-6, 1000)
        assert reached
        plain.set_params(C=C, tol=3e-4 * regression.state.scores.train_loss)
        plain.fit(scaled, labels[is_train])
        here = find_objective(
            scaled, labels[is_train], regression.state.coef.T, regression.state.intercept, C
        )
        there = find_objective(scaled, labels[is_train], plain.coef_, plain.intercept_, C)
        assert here <= there * (1 + 2e-6)
        ours, theirs = ours + n_iterations, theirs + int(plain.n_iter_[0])
    assert 4 < ours <= theirs / 2


def make_many_classes(n_classes=200, n_per_class=4, n_features=24):
    """A few samples of each of many classes, which lie close to each other."""
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(n_classes), n_per_class)
    features = random.standard_normal((n_classes, n_features))[labels]
    features += 0.7 * random.standard_normal(features.shape)
    is_val = np.arange(len(labels)) % n_per_class == 0
    return features.astype(np.float32), labels, ~is_val, is_val


def test_many_classes_are_fitted_not_left_where_the_solver_began():
    """Each class has a two-hundredth of the gradient: by itself it is small from the beginning."""
    features, labels, is_train, is_val = make_many_classes()
    told = []
    fit = fit_logistic_head(
        *(features, labels, is_train, is_val, [f"class {n}" for n in range(200)]),
        on_progress=lambda *progress: told.append(progress),
    )
    scaler = StandardScaler().fit(features[is_train].astype(np.float64))
    for point in fit.path[4:10:2]:
        plain = LogisticRegression(C=point.C, tol=1e-7, max_iter=10_000)
        plain.fit(scaler.transform(features[is_train].astype(np.float64)), labels[is_train])
        probabilities = plain.predict_proba(scaler.transform(features[is_val].astype(np.float64)))
        assert point.val_loss == pytest.approx(log_loss(labels[is_val], probabilities), rel=0.01)
    (chosen,) = [point for point in fit.path if point.C == fit.C]
    assert chosen.val_loss == min(point.val_loss for point in fit.path) < 0.8 * np.log(200)
    assert sum(point.n_iterations for point in fit.path) < 150
    check_that_it_moves(told, fit.C)


def check_that_it_moves(told, C):
    """Percent of each stage that rise to 100, the end of the refinement told as finely."""
    stages = {stage: [done for name, done, _ in told if name == stage] for stage, _, _ in told}
    assert list(stages) == ["Surveying", "Choosing C", f"Refining C={C:g}"]
    assert all(total == 100 for stage, _, total in told if stage != "Surveying")
    assert stages.pop("Surveying")[-1] == 800
    for percents in stages.values():
        assert percents == sorted(percents)
        assert percents[-1] == 100
        assert len(set(percents)) >= 8


def test_losses_are_exact_for_samples_that_are_almost_certain():
    scores = np.array([[0.0, -20.0, -30.0], [3.0, 3.0, 3.0], [-200.0, 0.0, -1.0]])
    labels = np.array([0, 2, 0])
    expected = logsumexp(scores, axis=1) - scores[np.arange(3), labels]
    for dtype, rtol in ((np.float32, 1e-6), (np.float64, 1e-12)):
        residuals, losses, doubts = _compare(scores.astype(dtype), labels)
        np.testing.assert_allclose(losses, expected, rtol=rtol)
        # expm1, not 1 - p: the first sample's 2e-9 is less than float32 can take from 1.
        np.testing.assert_allclose(doubts, -np.expm1(-expected), rtol=rtol)
        np.testing.assert_allclose(residuals.sum(axis=1), 0, atol=1e-6)
