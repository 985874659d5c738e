"""Leave-one-out is exact: every score is that of scikit-learn's Ridge fitted without the row."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

import frostline
from pipeline.errors import ParameterError, SplitError


def make_rows(n, n_features, n_classes, seed):
    """Features of very different scales, far from 0, and labels of which each is there."""
    random = np.random.default_rng(seed)
    scales = random.uniform(0.1, 3, n_features)
    features = (5 + scales * random.standard_normal((n, n_features))).astype(np.float32)
    return features, random.permutation(np.arange(n) % n_classes)


def leave_out_by_hand(features, labels, alpha, groups, weights):
    """Fits as many times as there are groups."""
    targets = np.eye(labels.max() + 1)[labels]
    features, scores = features.astype(np.float64), np.empty(targets.shape)
    for group in np.unique(groups):
        kept = groups != group
        ridge = Ridge(alpha, solver="svd")
        ridge.fit(features[kept], targets[kept], sample_weight=weights[labels[kept]])
        scores[~kept] = ridge.predict(features[~kept])
    return scores


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(12, 40),
    n_features=st.sampled_from([1, 3, 8, 60]),
    n_classes=st.integers(2, 5),
    n_groups=st.sampled_from([0, 2, 3, 7]),
    is_weighted=st.booleans(),
    power=st.floats(-6, 4),
    seed=st.integers(0, 10**6),
)
# Two groups of two rows, of which the first and the last number are as far apart as four in a row.
@example(
    n=20, n_features=8, n_classes=2, n_groups=7, is_weighted=False, power=0.0, seed=20738
)  # fmt: skip
def test_every_score_is_that_of_a_fit_without_the_rows(
    n, n_features, n_classes, n_groups, is_weighted, power, seed
):
    features, labels = make_rows(n, n_features, n_classes, seed)
    random = np.random.default_rng(seed + 1)
    groups = random.integers(0, n_groups, n) if n_groups else np.arange(n)
    groups[:2] = 0, n  # two groups at least
    counts = np.bincount(labels)
    weights = n / (n_classes * counts) if is_weighted else np.ones(n_classes)
    centred = features - features.mean(axis=0)
    alpha = 10**power * float(np.square(centred).sum())
    found = frostline.leave_one_out(
        features,
        labels,
        alphas=[alpha],
        groups=groups if n_groups else None,
        class_weight="balanced" if is_weighted else None,
    )
    expected = leave_out_by_hand(features, labels, alpha, groups, weights)
    assert found.scores.shape == (1, n, n_classes)
    np.testing.assert_allclose(found.scores[0], expected, atol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 40])
@pytest.mark.parametrize("n_features", [20, 70])
def test_scores_are_exact_with_copies_classes_few_and_many_and_at_each_of_the_strengths(
    n_classes, n_features, tmp_path
):
    features, labels = make_rows(60, n_features, n_classes, seed=n_classes)
    features[40:50] = features[:10]  # equal images, of which some have another label
    groups = np.arange(60)
    groups[40:50] = groups[:10]
    random = np.random.default_rng(0)
    weights = random.uniform(0.2, 4, n_classes)
    lines = [f"{name},{weight!r}" for name, weight in enumerate(weights.tolist())]
    (tmp_path / "weights.csv").write_text("\n".join(lines))
    found = frostline.leave_one_out(
        features, labels, groups=groups, class_weight=str(tmp_path / "weights.csv")
    )
    assert found.scores.shape == (100, 60, n_classes)
    for strength in (0, 60):
        alpha = found.alphas[strength]
        expected = leave_out_by_hand(features, labels, alpha, groups, weights)
        np.testing.assert_allclose(found.scores[strength], expected, atol=1e-6)
        distances = np.square(expected - np.eye(n_classes)[labels]).sum(axis=1)
        error = np.average(distances, weights=weights[labels])
        assert found.error[strength] == pytest.approx(error, rel=1e-6)
    assert found.error[found.best] == found.error.min()


def test_groups_larger_than_the_number_of_features_are_left_out_exactly():
    features, labels = make_rows(90, 6, 3, seed=5)
    groups = np.array(["north", "south", "east"])[np.arange(90) % 3]
    found = frostline.leave_one_out(features, labels, groups=groups, alphas=[0.1, 10.0])
    for strength, alpha in enumerate((0.1, 10.0)):
        expected = leave_out_by_hand(features, labels, alpha, groups, np.ones(3))
        np.testing.assert_allclose(found.scores[strength], expected, atol=1e-6)


def test_a_copy_of_an_image_betrays_its_label_unless_both_are_left_out_together():
    """Labels are drawn by lot, so nobody who has not seen an image knows its label."""
    features, labels = make_rows(100, 300, 2, seed=1)
    features, labels = np.tile(features, (2, 1)), np.tile(labels, 2)
    alone = frostline.leave_one_out(features, labels)
    together = frostline.leave_one_out(features, labels, groups=np.arange(200) % 100)
    assert alone.accuracy.max() > 0.99
    assert together.accuracy[together.best] < 0.65


def test_probabilities_of_left_out_rows_are_as_sure_as_they_are_right():
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 600)
    centers = 1.2 * np.eye(3)
    features = (centers[labels] + random.standard_normal((600, 3))).astype(np.float32)
    found = frostline.leave_one_out(features, labels)
    probabilities = found.probabilities()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    of_label = probabilities[np.arange(600), labels]
    # What nature gives away, by Bayes' rule.
    powers = np.exp(features.astype(np.float64) @ centers.T)
    best = (powers / powers.sum(axis=1, keepdims=True))[np.arange(600), labels]
    assert -np.log(of_label).mean() == pytest.approx(-np.log(best).mean(), abs=0.03)


def test_what_makes_no_sense_is_named():
    features, labels = make_rows(20, 4, 2, seed=0)
    with pytest.raises(SplitError, match="of one group, so none can be left out"):
        frostline.leave_one_out(features, labels, groups=["all"] * 20)
    with pytest.raises(ParameterError, match="Expected `alpha` to be a number from") as caught:
        frostline.leave_one_out(features, labels, alphas=[1e-12])
    assert caught.value.parameter == "alpha"
    for wrong in ([], [2.0, 1.0], "many", [[1.0]]):
        with pytest.raises(ParameterError, match="`alphas` to be a list of numbers above 0"):
            frostline.leave_one_out(features, labels, alphas=wrong)
    with pytest.raises(ParameterError, match="Received: none for row 3"):
        frostline.leave_one_out(features, np.where(np.arange(20) == 3, -1, labels))
    with pytest.raises(ParameterError, match="20 rows that are all equal"):
        frostline.leave_one_out(np.ones((20, 4), np.float32), labels)
    with pytest.raises(ParameterError, match="one of `groups` for each of the 20 rows"):
        frostline.leave_one_out(features, labels, groups=[1, 2])
