"""`fit` on plain arrays: pure, as good as the run that `fit_head` writes, clear about mistakes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.errors import HeadError, ParameterError, SplitError
from pipeline.features.feature_file import FeatureFile
from pipeline.features.opened_file import Features as FeaturesOfFile
from pipeline.heads.fit import fit
from pipeline.heads.rows import training_rows
from pipeline.runs.predictions import read_predictions
from pipeline.runs.run_folder import open_run

NAMES = np.array(["cat", "dog", "eel"])


class SlicedFloat64:
    """Rows that lie elsewhere: all that can be had of them is slices."""

    def __init__(self, rows):
        self._rows, self.shape = rows, rows.shape

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, rows):
        return self._rows[rows]


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


def run_script(script):
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=root
    )


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
    epochs = [progress for progress in seen if progress[0] == "Epochs"]
    assert epochs[:3] == [("Epochs", 0, 2), ("Epochs", 1, 2), ("Epochs", 2, 2)]
    np.testing.assert_array_equal(one.probabilities, same.probabilities)
    assert not np.array_equal(one.probabilities, other.probabilities)
    assert [record["epoch"] for record in one.history] == [0, 1, 2]


BY_NAME = {"class_names": ["cat", "dog"]}
WRONG = [
    ({"split": ["train"] * 119 + ["dev"]}, "split", "'dev'"),
    ({"split": [0, 1]}, "split", r"each of the 120 rows.*\(2,\)"),
    ({"labels": [0.5] * 120}, "labels", "float64"),
    ({"labels": [3] * 120, "class_names": NAMES}, "labels", "from -1 .none. to 2"),
    ({"labels": ["cow"] * 120, "class_names": NAMES}, "labels", "cat, dog, eel. Received: cow"),
    ({"labels": [10**9, 2 * 10**9] * 60}, "labels", "2 different numbers up to 2,000,000,000"),
    ({"labels": [10**30, None] * 60}, "labels", "1 different numbers up to 1,000,000"),
    ({"labels": np.uint64([2**63] * 120)}, "labels", "up to 9,223,372,036,854,775,808"),
    ({"labels": [True, False] * 60}, "labels", "an array of bool"),
    ({"labels": [True, None] * 60}, "labels", "an array of object"),
    ({"labels": [-2, 1] * 60}, "labels", "from -1 .none. to 1. Received: -2 to 1"),
    ({"labels": [["cat"], ["cat", "dog"]]}, "labels", "Received: list, of which numpy says"),
    ({"split": [["train"]] * 119 + [[]]}, "split", "Received: list, of which numpy says"),
    ({"split": [{}] * 120}, "split", "None, or of 0, 1, 2 and -1. Received: {}"),
    ({"class_names": ["cat", "dog", "cat"]}, "class_names", "Received: cat more than once"),
    ({"class_names": "cat"}, "class_names", "a list of names. Received: 'cat'"),
    ({"class_names": 3}, "class_names", "a list of names. Received: 3"),
    ({"class_names": ["cat", "", "dog"]}, "class_names", "a list of names"),
    (BY_NAME, "class_names", "name all 3 classes of `labels`. Received: 2 names: cat, dog"),
    ({"labels": NAMES[np.arange(120) % 3], **BY_NAME}, "class_names", "all 3 .* 2 names: cat, dog"),
    ({"features": np.zeros(120)}, "features", r"shape \(120,\)"),
    ({"features": np.zeros((120, 0))}, "features", r"a feature at least. Received: .*\(120, 0\)"),
    ({"features": None}, "features", "Received: NoneType"),
    ({"features": 3.0}, "features", "Received: float"),
    ({"features": "features.h5"}, "features", "Received: str. `frostline.features"),
    ({"features": Path("features.h5")}, "features", "Path. `frostline.features"),
    ({"features": FeaturesOfFile(Path("f.h5"))}, "features", "Features. `frostline.features"),
    ({"features": [["1", "2"]] * 120}, "features", "Received: an array of <U1"),
    ({"features": [[1, 2]] * 119 + [[3]]}, "features", "Received: list, of which numpy says"),
    ({"features": csr_array(np.eye(120))}, "features", "Received: csr_array"),
    ({"features": np.full((120, 2), 1e300)}, "features", "not finite as float32, above 3.4e38"),
    ({"features": [[10**400, 1]] * 120}, "features", "not finite as float32, above 3.4e38"),
    ({"features": np.full((120, 2), np.nan)}, "features", "Received: NaN or infinity in row 0"),
    ({"features": SlicedFloat64(np.full((120, 2), 1e300))}, "features", "infinity in row 0"),
    ({"seed": -1}, "seed", "from 0 to 4,294,967,295. Received: -1"),
    ({"seed": None}, "seed", "a whole number from 0 to 4,294,967,295. Received: None"),
    ({"seed": "a"}, "seed", "a whole number from 0 to 4,294,967,295. Received: a"),
    ({"head": ["logreg"]}, "head", r"one of logreg, .*Received: \['logreg'\]"),
    ({"hidden_units": 3}, "hidden_units", "`logreg` has no option `hidden_units`.*one of dense"),
    ({"C": "banana"}, "C", "to be None or a number above 0. Received: banana"),
    ({"head": "dense", "epochs": 0}, "epochs", "at least 1. Received: 0"),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("changes", "parameter", "why"), WRONG, ids=[w[2][:40] for w in WRONG])
def test_what_makes_no_sense_is_named(changes, parameter, why):
    features, labels, split = make_rows()
    arguments = {"features": features, "labels": labels, "split": split, **changes}
    with pytest.raises(ParameterError, match=why) as caught:
        fit(**arguments)
    assert caught.value.parameter == parameter
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("none", [None, "", -1])
def test_none_is_no_label_and_no_split(none):
    features, labels, split = make_rows()
    expected = fit(features, np.where(np.arange(120) < 10, -1, labels), split=split, C=1.0)
    if none != -1:
        labels_given, split_given = NAMES[labels], np.array(["train", "val", "test"])[split]
    else:
        labels_given, split_given = labels, split
    found = fit(
        features,
        [none] * 10 + labels_given.tolist()[10:],
        split=[none] * 10 + split_given.tolist()[10:],
        class_names=NAMES,
        C=1.0,
    )
    np.testing.assert_array_equal(found.labels[:10], -1)
    np.testing.assert_array_equal(found.labels[10:], labels[10:])
    np.testing.assert_array_equal(found.splits, expected.splits)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_none_among_numbers_is_no_label():
    features, labels, split = make_rows()
    found = fit(features, [None] * 10 + labels.tolist()[10:], split=split, C=1.0)
    assert found.class_names == ["0", "1", "2"]
    np.testing.assert_array_equal(found.labels, np.where(np.arange(120) < 10, -1, labels))


def test_a_table_without_labels_says_that_there_are_no_classes():
    features, _, split = make_rows()
    with pytest.raises(SplitError, match=r"needs at least two\. Received: 0"):
        fit(features, [None] * 120, split=split)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint64, np.int8, object])
def test_labels_may_be_whole_numbers_of_any_type(dtype):
    features, labels, split = make_rows()
    expected = fit(features, labels, split=split, C=1.0)
    found = fit(features, labels.astype(dtype), split=split.astype(dtype), C=1.0)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_what_is_sliced_like_an_array_is_not_read_whole(monkeypatch):
    features, labels, split = make_rows()
    expected = fit(features, labels, split=split, C=1.0)
    monkeypatch.setattr(training_rows, "BLOCK_BYTES", 20 * 4 * 8)
    rows, asked = SlicedFloat64(features), []
    monkeypatch.setattr(
        SlicedFloat64, "__getitem__", lambda self, key: asked.append(key) or features[key]
    )
    found = fit(rows, labels, split=split, C=1.0)
    assert max(key.stop - (key.start or 0) for key in asked) == 20
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=1e-3)


def test_a_seed_of_numpys_is_pythons():
    features, labels, split = make_rows()
    by_numpy, by_python = (
        fit(features, labels, split=split, head="dense", epochs=1, hidden_units=4, seed=seed)
        for seed in (np.int64(7), 7)
    )
    np.testing.assert_array_equal(by_numpy.probabilities, by_python.probabilities)


@pytest.mark.parametrize("head", ["logreg", "dense"])
def test_features_of_another_width_are_refused_by_the_fitted_head(head):
    features, labels, split = make_rows()
    how = {"head": head, "epochs": 1} if head == "dense" else {"head": head, "C": 1.0}
    found = fit(features, labels, split=split, **how)
    with pytest.raises(ParameterError, match=r"\(n_samples, 8\).*shape \(120, 5\)") as caught:
        found.head.predict_proba(features[:, :5])
    assert caught.value.parameter == "features"


def test_fitting_dense_heads_again_and_again_warns_of_nothing():
    script = (
        "import numpy as np; from pipeline.heads.fit import fit\n"
        "x = np.random.default_rng(0).normal(size=(30, 3)); y = np.arange(30) % 2\n"
        "for _ in range(8):\n"
        "    fit(x, y, split=np.arange(30) // 2 % 2, head='dense', epochs=1)\n"
    )
    done = run_script(script)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert "retracing" not in done.stderr


def test_unknown_head_is_an_error_with_the_known_ones():
    features, labels, split = make_rows()
    with pytest.raises(HeadError, match="one of logreg, ridge, "):
        fit(features, labels, split=split, head="forest")


def test_fitting_a_linear_head_prints_nothing_and_needs_no_tensorflow():
    script = (
        "import sys, numpy as np; from pipeline.heads.fit import fit\n"
        "x = np.random.default_rng(0).normal(size=(40, 3)); y = np.arange(40) % 2\n"
        "fit(x, y, split=np.arange(40) // 2 % 2)\n"
        "sys.exit(int(any(m in sys.modules for m in ('tensorflow', 'keras'))))"
    )
    done = run_script(script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
