"""A head at a temperature: as sure as it is right, in every form that it takes."""

import json

import numpy as np
import pytest
from conftest import call
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

from benchmarks.stand_in import extract
from pipeline.heads.fit import fit
from pipeline.heads.linear import LinearHead
from pipeline.heads.saved_head import load_head
from pipeline.heads.tempered import TemperedHead, calibrate
from pipeline.runs.predictions import read_predictions
from pipeline.runs.run_folder import open_run


@pytest.fixture(scope="module")
def noisy():
    """Rows on which a head without regularisation is far too sure."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(240, 30)).astype(np.float32)
    labels = (features[:, 0] + rng.normal(size=240) > 0).astype(int)
    splits = np.repeat([0, 1, 2], 80)
    return features, labels, splits


def test_temperature_is_the_one_with_the_lowest_validation_log_loss(noisy):
    features, labels, splits = noisy
    plain = fit(features, labels, split=splits, C=100.0)
    calibrated = calibrate(plain)
    val = splits == 1
    scores = np.log(plain.probabilities[val].astype(float))

    def loss(temperature):
        logs = log_softmax(scores / temperature, axis=1)
        return -logs[np.arange(val.sum()), labels[val]].mean()

    best = minimize_scalar(loss, bounds=(1, 50), method="bounded")
    assert calibrated.temperature == pytest.approx(best.x, rel=1e-2)
    assert calibrated.temperature > 1.5
    assert calibrated.metrics["val"].log_loss == pytest.approx(best.fun, abs=1e-5)
    assert calibrated.metrics["val"].accuracy == plain.metrics["val"].accuracy
    assert calibrated.metrics["test"].log_loss < plain.metrics["test"].log_loss
    assert calibrated.history[0]["val_loss"] == calibrated.metrics["val"].log_loss
    assert "temperature" in calibrated.notes[-1]
    np.testing.assert_allclose(
        calibrated.head.predict_proba(features), calibrated.probabilities, atol=1e-6
    )


def test_its_layer_for_fine_tuning_says_the_same():
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(7, 3)).astype(np.float32)
    bias = rng.normal(size=3).astype(np.float32)
    features = rng.normal(size=(9, 7)).astype(np.float32)
    head = TemperedHead(LinearHead(kernel, bias, ("a", "b", "c")), 2.5)
    expected = softmax((features.astype(float) @ kernel + bias) / 2.5, axis=1)
    np.testing.assert_allclose(head.predict_proba(features), expected, atol=1e-6)
    np.testing.assert_allclose(np.asarray(head.to_keras()(features)), expected, atol=1e-6)


@pytest.mark.parametrize("words", [("--C", "10000"), ("--head", "dense", "--epochs", "3")])
def test_run_that_was_calibrated_reads_back_as_it_was_scored(photos, tmp_path, words):
    extract(photos, tmp_path / "f.h5")
    run = tmp_path / "run"
    outcome = call("fit-head", tmp_path / "f.h5", *words, "--calibrate", "--output", run)
    assert outcome.exit_code == 0, outcome.stderr
    assert "Calibration: " in outcome.stderr
    opened = open_run(run)
    values = json.loads((run / "manifest.json").read_text())
    assert values["temperature"] == opened.manifest.temperature > 0
    predictions = read_predictions(opened)
    from pipeline.features.feature_file import FeatureFile

    with FeatureFile(tmp_path / "f.h5") as file:
        again = load_head(opened).predict_proba(file.read_all())
    np.testing.assert_allclose(again, predictions.probabilities, atol=1e-6)
