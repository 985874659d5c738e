"""`fit` on plain arrays: pure, as good as the run that `fit_head` writes, clear about mistakes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.errors import HeadError, ParameterError
from pipeline.features.feature_file import FeatureFile
from pipeline.heads.fit import fit
from pipeline.runs.records import read_predictions
from pipeline.runs.run_folder import open_run

NAMES = np.array(["cat", "dog", "eel"])


def make_rows(n_samples=120, n_features=8, seed=0):
    """Features, labels as numbers, and splits as numbers."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, n_samples)
    centers = random.standard_normal((3, n_features))
    features = centers[labels] + random.standard_normal((n_samples, n_features))
    return features.astype(np.float32), labels, np.arange(n_samples) % 3


def test_logistic_head_is_scikit_learns(tmp_path):
    features, labels, split = make_rows()
    found = fit(features, labels, split=split, C=0.1)
    expected = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.1, tol=1e-10, max_iter=10_000)
    )
    expected.fit(features[split == 0].astype(np.float64), labels[split == 0])
    probabilities = expected.predict_proba(features.astype(np.float64))
    np.testing.assert_allclose(found.probabilities, probabilities, atol=1e-3)
    np.testing.assert_array_equal(found.head.predict_proba(features), found.probabilities)
    is_val = split == 1
    accuracy = (probabilities.argmax(axis=1) == labels)[is_val].mean()
    assert found.metrics["val"].accuracy == pytest.approx(accuracy)
    assert found.parameters == {"C": 0.1, "class_weight": None}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("head", ["logreg", "dense"])
def test_names_and_numbers_of_labels_and_splits_mean_the_same(head):
    features, labels, split = make_rows()
    how = {"head": head, "epochs": 3} if head == "dense" else {"head": head, "C": 1.0}
    by_number = fit(features, labels, split=split, class_names=NAMES, **how)
    by_name = fit(
        features.tolist(), NAMES[labels].tolist(), split=np.array(["train", "val", "test"])[split],
        **how,
    )  # fmt: skip
    assert by_name.class_names == by_number.class_names == ["cat", "dog", "eel"]
    np.testing.assert_array_equal(by_name.labels, labels)
    np.testing.assert_array_equal(by_name.splits, split)
    np.testing.assert_array_equal(by_name.probabilities, by_number.probabilities)
    assert set(by_name.metrics) == {"train", "val", "test"}


def test_rows_without_label_or_split_are_predicted_and_not_scored():
    features, labels, split = make_rows()
    names = NAMES[labels].astype(object)
    names[:10] = ""
    split[10:15] = -1
    found = fit(features, names, split=split, C=1.0)
    assert found.probabilities.shape == (120, 3)
    assert (found.labels[:10] == -1).all()
    assert (found.splits[:15] == -1).all()
    n_scored = sum(metrics.n_samples for metrics in found.metrics.values())
    assert n_scored == 105


def test_fit_on_arrays_is_what_fit_head_writes(extracted, fitted):
    with FeatureFile(extracted / "features.h5") as file:
        features, labels = file.read_all(), file.contents.labels
    run = open_run(fitted)
    predictions = read_predictions(run)
    found = fit(features, labels, split=predictions.splits, class_names=run.class_names)
    np.testing.assert_allclose(found.probabilities, predictions.probabilities, rtol=1e-6)
    assert found.chosen == run.manifest.chosen
    assert found.metrics == run.manifest.metrics


def test_dense_head_reports_its_progress_and_repeats_with_its_seed():
    features, labels, split = make_rows()
    seen = []

    def fit_dense(seed):
        return fit(
            features, labels, split=split, head="dense", epochs=2, hidden_units=4, seed=seed,
            on_progress=lambda *progress: seen.append(progress),
        )  # fmt: skip

    one, same, other = fit_dense(1), fit_dense(1), fit_dense(2)
    assert seen[:3] == [("Epochs", 0, 2), ("Epochs", 1, 2), ("Epochs", 2, 2)]
    np.testing.assert_array_equal(one.probabilities, same.probabilities)
    assert not np.array_equal(one.probabilities, other.probabilities)
    assert [record["epoch"] for record in one.history] == [0, 1, 2]


WRONG = [
    ({"split": ["train"] * 119 + ["dev"]}, "split", "'dev'"),
    ({"split": [0, 1]}, "split", r"each of the 120 rows.*\(2,\)"),
    ({"labels": [0.5] * 120}, "labels", "float64"),
    ({"labels": [3] * 120, "class_names": NAMES}, "labels", "from -1 .none. to 2"),
    ({"labels": ["cow"] * 120, "class_names": NAMES}, "labels", "cat, dog, eel. Received: cow"),
    ({"features": np.zeros(120)}, "features", r"shape \(120,\)"),
    ({"hidden_units": 3}, "hidden_units", "`logreg` has no option `hidden_units`.*one of dense"),
    ({"C": "banana"}, "C", "to be auto or a number above 0. Received: banana"),
    ({"head": "dense", "epochs": 0}, "epochs", "at least 1. Received: 0"),
]


@pytest.mark.parametrize(("changes", "parameter", "why"), WRONG, ids=[w[2][:20] for w in WRONG])
def test_what_makes_no_sense_is_named(changes, parameter, why):
    features, labels, split = make_rows()
    arguments = {"features": features, "labels": labels, "split": split, **changes}
    with pytest.raises(ParameterError, match=why) as caught:
        fit(**arguments)
    assert caught.value.parameter == parameter
    assert isinstance(caught.value, ValueError)


def test_unknown_head_is_an_error_with_the_known_ones():
    features, labels, split = make_rows()
    with pytest.raises(HeadError, match="logreg, dense"):
        fit(features, labels, split=split, head="forest")


def test_fitting_a_linear_head_prints_nothing_and_needs_no_tensorflow():
    script = (
        "import sys, numpy as np; from pipeline.heads.fit import fit\n"
        "x = np.random.default_rng(0).normal(size=(40, 3)); y = np.arange(40) % 2\n"
        "fit(x, y, split=np.arange(40) // 2 % 2)\n"
        "sys.exit(int(any(m in sys.modules for m in ('tensorflow', 'keras'))))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=root
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
