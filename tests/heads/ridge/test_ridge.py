"""The ridge head: scikit-learn's coefficients, a strength that no validation row chose."""

import csv
import json

import numpy as np
import pytest
from conftest import call, make_photos
from sklearn.linear_model import Ridge

import frostline
from benchmarks.stand_in import extract
from pipeline.errors import ParameterError


def make_rows(n=150, n_features=40, n_classes=3, seed=0):
    random = np.random.default_rng(seed)
    labels = np.arange(n) % n_classes
    centers = random.standard_normal((n_classes, n_features))
    features = 3 + centers[labels] + 1.5 * random.standard_normal((n, n_features))
    return features.astype(np.float32), labels


@pytest.mark.parametrize("alpha", [0.01, 1.0, 30.0, 1000.0, 1e5])
@pytest.mark.parametrize("n_features", [20, 400])
def test_coefficients_are_those_of_scikit_learn(alpha, n_features):
    features, labels = make_rows(n_features=n_features)
    fit = frostline.fit(features, labels, split=["train"] * 150, head="ridge", alpha=alpha)
    ridge = Ridge(alpha).fit(features.astype(np.float64), np.eye(3)[labels])
    # The head holds them times one factor, which makes the scores as sure as they are right.
    factor = np.vdot(fit.head.kernel, ridge.coef_.T) / np.vdot(ridge.coef_, ridge.coef_)
    assert factor > 0
    largest = np.abs(ridge.coef_).max()
    np.testing.assert_allclose(fit.head.kernel / factor, ridge.coef_.T, atol=1e-5 * largest)
    np.testing.assert_allclose(fit.head.bias / factor, ridge.intercept_, atol=1e-4)
    assert (fit.chosen_by, fit.chosen) == ("user", f"alpha = {alpha:g}")


def test_the_strength_is_the_one_that_leaving_out_finds_and_validation_has_no_part_in_it():
    features, labels = make_rows()
    split = np.where(np.arange(150) < 100, 0, 1)
    fit = frostline.fit(features, labels, split=split, head="ridge")
    train = split == 0
    left_out = frostline.leave_one_out(features[train], labels[train])
    assert fit.best == left_out.alphas[left_out.best]
    assert fit.chosen_by == "leave-one-out"
    errors = [record["left_out_error"] for record in fit.history]
    np.testing.assert_allclose(errors, left_out.error)
    other = np.where(train, labels, (labels + 1) % 3)
    again = frostline.fit(features, other, split=split, head="ridge")
    np.testing.assert_array_equal(again.head.kernel, fit.head.kernel)


def test_equal_images_are_left_out_together_by_the_head():
    """Labels are drawn by lot: the best strength is the one that trusts no feature."""
    random = np.random.default_rng(3)
    features = random.standard_normal((60, 200)).astype(np.float32)
    labels = random.permutation(np.arange(60) % 2)
    features, labels = np.tile(features, (2, 1)), np.tile(labels, 2)
    split = ["train"] * 120
    alone = frostline.fit(features, labels, split=split, head="ridge")
    groups = np.arange(120) % 60
    together = frostline.fit(features, labels, split=split, head="ridge", groups=groups)
    assert alone.best < 0.001 * together.best


def test_rows_that_are_all_right_when_left_out_give_probabilities_that_are_sure_but_finite():
    features, labels = make_rows(n=60)
    features += 40 * np.eye(40, dtype=np.float32)[labels]
    fit = frostline.fit(features, labels, split=["train"] * 60, head="ridge")
    assert np.isfinite(fit.head.kernel).all()
    assert 0.9 < fit.probabilities[np.arange(60), labels].mean() < 1


def test_class_weights_count_in_the_coefficients():
    features, labels = make_rows()
    labels[:60] = 0
    split = ["train"] * 150
    fit = frostline.fit(
        features, labels, split=split, head="ridge", alpha=5.0, class_weight="balanced"
    )
    counts = np.bincount(labels)
    ridge = Ridge(5.0).fit(
        features.astype(np.float64), np.eye(3)[labels], sample_weight=(50 / counts)[labels]
    )
    factor = np.vdot(fit.head.kernel, ridge.coef_.T) / np.vdot(ridge.coef_, ridge.coef_)
    largest = np.abs(ridge.coef_).max()
    np.testing.assert_allclose(fit.head.kernel / factor, ridge.coef_.T, atol=1e-5 * largest)


def test_a_strength_below_what_can_be_told_from_rounding_is_named():
    features, labels = make_rows()
    with pytest.raises(ParameterError, match=r"Expected `alpha` to be a number from .* on"):
        frostline.fit(features, labels, split=["train"] * 150, head="ridge", alpha=1e-9)


def test_ridge_works_in_every_command(tmp_path):
    extract(make_photos(tmp_path / "photos", n_per_class=10), tmp_path / "f.h5")
    outcome = call("fit-head", "f.h5", "--head", "ridge", "--output", "run")
    assert outcome.exit_code == 0, outcome.stderr
    assert "Chosen by leaving out each training image in turn: alpha = " in outcome.stdout
    assert "validation chose" not in outcome.stdout
    facts = json.loads((tmp_path / "run/manifest.json").read_text())
    assert (facts["kind"], facts["chosen_by"]) == ("ridge", "leave-one-out")
    with (tmp_path / "run/history.csv").open() as file:
        records = list(csv.DictReader(file))
    assert len(records) == 100
    (chosen,) = (record for record in records if record["val_loss"])
    assert float(chosen["alpha"]) == facts["history"]["best"]
    assert float(chosen["val_loss"]) == pytest.approx(facts["metrics"]["val"]["log_loss"])
    assert (tmp_path / "run/plots/learning-curve.png").is_file()
    assert json.loads(call("runs", "run", "--json").stdout)[0]["chosen"] == facts["chosen"]
    outcome = call("fit-head", "f.h5", "--alpha", 3)
    assert outcome.exit_code == 2
    assert "--alpha is an option of the ridge or elastic-net head" in outcome.stderr
    outcome = call("fit-head", "f.h5", "--head", "ridge", "--alpha", 3, "--output", "given")
    assert "alpha = 3, as given." in outcome.stdout
