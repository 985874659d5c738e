"""A head that Frostline does not know: a file, a line in the registry, and every command has it."""

import csv
import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
from conftest import call

from pipeline.classifier.load import load_run
from pipeline.errors import HeadError
from pipeline.features.feature_file import FeatureFile
from pipeline.heads.head import ChosenHead
from pipeline.heads.linear import softmax
from pipeline.heads.registry import HEADS, HeadKind
from pipeline.system.options import option


@dataclass(frozen=True)
class NearestMeanOptions:
    sharpness: float = option(1.0, help="How sure it is of the nearest mean.", above=0, below=1e9)


@dataclass(frozen=True)
class NearestMeanHead:
    means: np.ndarray
    sharpness: float

    def predict_proba(self, features):
        distances = np.linalg.norm(features[:, None] - self.means, axis=2)
        return softmax(-self.sharpness * distances).astype(np.float32)

    def save(self, folder):
        np.savez(folder / "means.npz", means=self.means, sharpness=self.sharpness)

    def to_keras(self):
        raise HeadError("its means are no weights that training could improve.")


def fit_nearest_mean(rows, options, *, seed, on_progress):
    numbers = range(len(rows.class_names))
    means = [rows.features[np.flatnonzero(rows.is_train & (rows.labels == n))] for n in numbers]
    head = NearestMeanHead(np.stack([m.mean(axis=0) for m in means]), options.sharpness)
    return ChosenHead(head, chosen="the means of the classes")


def load_nearest_mean(folder, class_names):
    with np.load(folder / "means.npz") as file:
        return NearestMeanHead(file["means"], float(file["sharpness"]))


LINE = HeadKind(
    "nearest-mean",
    NearestMeanOptions,
    fit=f"{__name__}:fit_nearest_mean",
    load=f"{__name__}:load_nearest_mean",
    files=("means.npz",),
)


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    monkeypatch.setitem(HEADS, "nearest-mean", LINE)


@pytest.fixture
def run(extracted, tmp_path):
    outcome = call(
        *("fit-head", extracted / "features.h5", "--head", "nearest-mean", "--sharpness", 2),
        *("--output", tmp_path / "runs/mean"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert "the means of the classes." in outcome.stdout.splitlines()
    assert "validation chose" not in outcome.stdout
    return tmp_path / "runs/mean"


def test_new_head_is_fitted_by_the_command_with_its_own_options(run, extracted):
    facts = json.loads((run / "manifest.json").read_text())
    assert facts["kind"] == "nearest-mean"
    assert facts["parameters"]["sharpness"] == 2
    with FeatureFile(extracted / "features.h5") as file:
        features, labels = file.read_all(), file.contents.labels
    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    is_train = np.array([row["split"] == "train" for row in rows])
    means = np.stack([features[is_train & (labels == n)].mean(axis=0) for n in range(3)])
    nearest = np.linalg.norm(features[:, None] - means, axis=2).argmin(axis=1)
    assert [row["predicted"] for row in rows] == [("blue", "green", "red")[n] for n in nearest]
    with (run / "history.csv").open() as file:
        (record,) = csv.DictReader(file)
    assert float(record["val_loss"]) == pytest.approx(facts["metrics"]["val"]["log_loss"])
    assert (run / "plots/learning-curve.png").is_file()


def test_help_and_refusals_know_the_new_head(extracted):
    text = " ".join(call("fit-head", "--help").stdout.split())
    assert f"--head [{'|'.join(HEADS)}]" in text
    assert "nearest-mean" in HEADS
    assert "How sure it is of the nearest mean. [default: 1.0; 0<x<1e+09]" in text
    features = extracted / "features.h5"
    outcome = call("fit-head", features, "--sharpness", 3)
    assert outcome.exit_code == 2
    assert "--sharpness is an option of the nearest-mean head" in outcome.stderr
    outcome = call("fit-head", features, "--head", "nearest-mean", "--class-weight", "balanced")
    assert outcome.exit_code == 2
    assert "--class-weight is an option of the logreg or ridge or " in outcome.stderr
    outcome = call("fit-head", features, "--head", "nearest-mean", "--sharpness", 0)
    assert outcome.exit_code == 2
    assert (
        "'--sharpness': expected a number above 0 and below 1e+09, received '0'" in outcome.stderr
    )


def test_option_that_two_heads_have_with_other_defaults_is_there_once_and_tells_both(monkeypatch):
    @dataclass(frozen=True)
    class Options:
        dropout: float = option(0.25, help="Of this head.", least=0, below=1)
        epochs: int = option(200, help="Of this head.", least=0)

    monkeypatch.setitem(HEADS, "nearest-mean", replace(LINE, options=Options))
    text = " ".join(call("fit-head", "--help").stdout.split())
    assert text.count("--dropout") == 1
    assert "[default: 0.5 of dense, 0.25 of nearest-mean; 0<=x<1]" in text
    assert "--epochs INTEGER Of the dense head, at most. [default: 200] " in text
    outcome = call("fit-head", "x.h5", "--head", "dense", "--epochs", 0)
    assert outcome.exit_code == 2
    assert "Expected --epochs to be at least 1. Received: 0" in outcome.stderr


def test_new_head_predicts_evaluates_and_is_listed(run, extracted):
    outcome = call("predict", run, extracted / "photos/red/003.png", "--top", 3, "--format", "json")
    assert outcome.exit_code == 0, outcome.stderr
    (found,) = json.loads(outcome.stdout)
    with (run / "predictions.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["path"] == "red/003.png")
    for entry in found["classes"]:
        assert entry["probability"] == pytest.approx(float(row[entry["name"]]), abs=1e-5)
    outcome = call("evaluate", run, extracted / "photos", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["n_samples"] == 36
    (entry,) = json.loads(call("runs", "--json").stdout)
    assert (entry["kind"], entry["chosen"]) == ("nearest-mean", "the means of the classes")


def test_new_head_says_why_it_cannot_be_fine_tuned(run):
    outcome = call("finetune", run, "--output", "tuned")
    assert outcome.exit_code == 1
    assert "The nearest-mean head of" in outcome.stderr
    assert "its means are no weights that training could improve" in outcome.stderr


def test_run_of_a_head_that_is_no_longer_registered_is_listed_and_named(run, monkeypatch):
    monkeypatch.delitem(HEADS, "nearest-mean")
    assert "nearest-mean" in call("runs").stdout
    outcome = call("predict", run, "a.png")
    assert outcome.exit_code == 1
    assert "no such kind of head" in outcome.stderr
    with pytest.raises(HeadError, match="Received: nearest-mean"):
        load_run(run)
