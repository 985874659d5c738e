"""A forecast of rows and of a run."""

import json

import numpy as np
import pytest
from conftest import make_photos

import frostline
from benchmarks.stand_in import extract
from pipeline.errors import FeatureFileError, ParameterError, SplitError
from pipeline.heads.fit import fit
from pipeline.heads.forecast.forecast import Accuracy, Forecast, forecast_accuracy

N_TRAIN, N_SCORED = 120, 60


@pytest.fixture(scope="module")
def rows():
    """Three classes that overlap, 12 features: (features, labels, is_train)."""
    random = np.random.default_rng(0)
    labels = np.arange(N_TRAIN + N_SCORED) % 3
    features = random.normal(size=(len(labels), 12)) + 0.6 * np.eye(12)[labels]
    is_train = np.arange(len(labels)) < N_TRAIN
    return features.astype(np.float32), labels, is_train


def test_with_all_images_it_is_the_head_that_fit_makes(rows):
    features, labels, is_train = rows
    found = forecast_accuracy(features, labels, is_train, ~is_train, C=0.1)
    split = np.where(is_train, "train", "test")
    fitted = fit(features, labels, split=split, C=0.1)
    assert found.now.mean == pytest.approx(fitted.metrics["test"].accuracy)
    assert [one.n_images for one in found.measured] == [15, 21, 30, 42, 60, 85, 120]
    assert [one.n_images for one in found.ahead] == [180, 240, 360, 480]
    assert found == forecast_accuracy(features, labels, is_train, ~is_train, C=0.1)


def test_more_images_are_said_to_help_where_they_do(rows):
    features, labels, is_train = rows
    found = forecast_accuracy(features, labels, is_train, ~is_train)
    twice = found.at(2)
    assert found.measured[0].mean < found.now.mean
    assert twice.low <= twice.mean <= twice.high < 1
    said = " ".join(found.describe())
    assert f"Twice the images (240): {100 * (twice.low - found.now.mean):+.1f} to " in said
    assert f"{twice.low:.1%} to {twice.high:.1%} of the same images." in said


def test_without_images_to_score_training_images_are_scored_in_turn(rows):
    features, labels, is_train = rows
    found = forecast_accuracy(features, labels, is_train)
    assert found.is_in_turn
    assert (found.now.n_images, found.n_scored) == (96, N_TRAIN)
    # Heads of 96 images on a fifth of 120, ten times: within chance that of 120 on 60 others.
    other = forecast_accuracy(features, labels, is_train, ~is_train).now.mean
    assert found.now.mean == pytest.approx(other, abs=0.15)


def test_labels_by_chance_promise_nothing(rows):
    features, _, is_train = rows
    labels = np.random.default_rng(1).integers(0, 3, len(is_train))
    found = forecast_accuracy(features, labels, is_train, ~is_train)
    assert found.at(2).low < 1 / 3 + 0.1
    assert found.at(2).mean < 0.6


def test_a_feature_of_no_use_or_no_spread_is_no_harm(rows):
    features, labels, is_train = rows
    constant = np.full((len(features), 1), 7, np.float32)
    wider = np.concatenate([features, constant], axis=1)
    with_it = forecast_accuracy(wider, labels, is_train, ~is_train)
    assert with_it.now.mean == forecast_accuracy(features, labels, is_train, ~is_train).now.mean


def test_it_goes_no_further_than_four_times_and_than_it_was_measured_back(rows):
    features, labels, is_train = rows
    with pytest.raises(ParameterError, match=r"up to 4.*Received: \[5\]"):
        forecast_accuracy(features, labels, is_train, ~is_train, times=[5])
    some = is_train & (np.arange(len(labels)) < 33)
    found = forecast_accuracy(features, labels, some, ~is_train)
    assert [one.n_images for one in found.ahead] == [50, 66]
    assert "No more than 2 times the images is forecast" in " ".join(found.describe())


def test_too_few_images_of_a_class_are_refused(rows):
    features, labels, is_train = rows
    few = is_train & ~((labels == 2) & (np.arange(len(labels)) > 12))
    with pytest.raises(SplitError, match=r"'rose'"):
        forecast_accuracy(features, labels, few, ~is_train, class_names=["a", "b", "rose"])
    with pytest.raises(SplitError, match="no images to score"):
        forecast_accuracy(features, labels, is_train, np.zeros(len(labels), bool))


def test_a_forecast_is_ready_for_json():
    measured = [Accuracy(50, 0.7, 0.65, 0.75), Accuracy(100, 0.8, 0.77, 0.83)]
    ahead = [Accuracy(200, 0.82, 0.806, 0.821)]
    found = Forecast(measured, ahead, 500, False, 0.01, 10)
    values = json.loads(json.dumps(found.to_dict()))
    assert values["ahead"] == [{"n_images": 200, "mean": 0.82, "low": 0.806, "high": 0.821}]
    assert values["sentences"] == [
        "With 100 training images a logistic head has 80.0% of 500 images right.",
        "Twice the images (200): +0.6 to +2.1 points, 80.6% to 82.1% of the same images.",
        "No more than 2 times the images is forecast: smaller numbers were measured over no wider "
        "a range.",
        # Wilson's interval of 400 in 500, from statsmodels 0.14's proportion_confint.
        "On other images than these the accuracy now lies between 76.3% and 83.3%.",
    ]


def test_a_run_is_forecast_with_its_own_head_and_division(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    extract(make_photos(tmp_path / "photos", n_per_class=24), tmp_path / "f.h5")
    run = frostline.fit_head(tmp_path / "f.h5")
    found = frostline.forecast(run.folder)
    assert found.now.mean == pytest.approx(run.metrics["val"].accuracy)
    assert found.n_scored == run.metrics["val"].n_samples
    assert found.now.n_images == run.metrics["train"].n_samples
    (tmp_path / "photos/blue/000.png").unlink(missing_ok=True)
    for path in sorted((tmp_path / "photos").glob("*/001.png")):
        path.unlink()
    extract(tmp_path / "photos", tmp_path / "f.h5")
    with pytest.raises(FeatureFileError, match=r"has changed since.*Received: \d that are gone"):
        frostline.forecast(run)
