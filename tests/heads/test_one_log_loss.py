"""The log-loss that chose, the history's, the table's and the manifest's are one number."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from benchmarks.stand_in import extract
from pipeline.heads.fit import fit
from pipeline.heads.fit_head import fit_head

GREATEST_LOSS = -np.log(2.0**-52)  # of float64's epsilon, as in scikit-learn


def make_rows(seed, n_outliers, n_classes=3):
    """Classes that are easy to tell apart, and validation rows far out on the wrong side."""
    random = np.random.default_rng(seed)
    labels = np.arange(20 * n_classes) % n_classes
    features = 3 * np.eye(n_classes, 5)[labels] + random.standard_normal((len(labels), 5))
    split = np.where(np.arange(len(labels)) // n_classes % 4 == 0, "val", "train")
    outliers = np.flatnonzero(split == "val")[:n_outliers]
    features[outliers] = 60 * np.eye(n_classes, 5)[(labels[outliers] + 1) % n_classes]
    return features.astype(np.float32), labels, split


@given(st.integers(0, 1000), st.integers(0, 4), st.sampled_from([2, 3, 5]))
@settings(max_examples=8, deadline=None)
def test_the_loss_of_the_history_that_chose_is_the_one_that_is_reported(seed, n_outliers, n):
    features, labels, split = make_rows(seed, n_outliers, n)
    fitted = fit(features, labels, split=split)
    chosen = min(fitted.history, key=lambda record: record["val_loss"])
    assert chosen["C"] == fitted.best
    for name in ("train", "val"):
        assert chosen[f"{name}_loss"] == fitted.metrics[name].log_loss
        assert chosen[f"{name}_accuracy"] == fitted.metrics[name].accuracy
        probabilities = fitted.probabilities[split == name].astype(np.float64)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        expected = log_loss(labels[split == name], probabilities)
        assert fitted.metrics[name].log_loss == pytest.approx(expected, rel=1e-5, abs=1e-6)
    # Each point of the path has the rule, not only the chosen one.
    n_val = (split == "val").sum()
    for record in fitted.history:
        assert record["val_loss"] <= n_outliers / n_val * GREATEST_LOSS + np.log(n) + 1


def test_a_mistake_that_is_far_beyond_the_rule_counts_as_the_rule_says_while_c_is_chosen():
    features, labels, split = make_rows(0, n_outliers=4)
    fitted = fit(features, labels, split=split, C=100.0)
    is_val = split == "val"
    of_label = fitted.probabilities[is_val, labels[is_val]].astype(np.float64)
    assert (of_label < 2.0**-52).any()
    expected = np.minimum(-np.log(np.maximum(of_label, 1e-300)), GREATEST_LOSS).mean()
    assert fitted.history[0]["val_loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("head", "how"), [("logreg", {}), ("logreg", {"C": 30.0}), ("dense", {"epochs": 3})]
)
def test_history_manifest_and_result_of_a_run_have_one_log_loss(photos, tmp_path, head, how):
    extract(photos, tmp_path / "f.h5")
    result = fit_head(tmp_path / "f.h5", head=head, output=tmp_path / "run", **how)
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    axis = manifest["history"]
    with (tmp_path / "run/history.csv").open(newline="") as file:
        (record,) = [row for row in csv.DictReader(file) if float(row[axis["x"]]) == axis["best"]]
    for name in ("train", "val"):
        for of_history, of_metrics in (("loss", "log_loss"), ("accuracy", "accuracy")):
            number = float(record[f"{name}_{of_history}"])
            assert number == manifest["metrics"][name][of_metrics]
            assert number == getattr(result.metrics[name], of_metrics)
