"""Tests of features that are sliced like an array in no more memory than is allowed."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import call
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.synthetic_features import write_synthetic_features
from pipeline.errors import FeatureFileError
from pipeline.features.feature_file import FeatureFile
from pipeline.features.sliced_rows import FeatureRows

ROOT = Path(__file__).resolve().parents[2]
N_SAMPLES, N_FEATURES = 3000, 40
ROW_BYTES = 4 * N_FEATURES
SIZES = [1, 700 * ROW_BYTES, N_SAMPLES * ROW_BYTES]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    target = tmp_path_factory.mktemp("synthetic") / "features.h5"
    write_synthetic_features(target, N_SAMPLES, N_FEATURES, n_classes=3)
    return target


@pytest.fixture(scope="module")
def expected(path):
    with h5py.File(path) as file:
        return file["features"][:]


@pytest.mark.parametrize("memory", SIZES)
def test_rows_are_those_of_the_file_however_little_is_kept(path, expected, memory):
    with FeatureFile(path) as file:
        rows = FeatureRows(file, memory)
        assert (len(rows), rows.shape, rows.ndim) == (N_SAMPLES, (N_SAMPLES, N_FEATURES), 2)
        for start, stop in [(0, 100), (300, 900), (2900, 5000), (10, 10), (0, None)]:
            np.testing.assert_array_equal(rows[start:stop], expected[start:stop])
        numbers = np.array([2999, 0, 5, 5, 1700, 419, 420])
        np.testing.assert_array_equal(rows[numbers], expected[numbers])


def test_no_more_is_kept_than_memory_allows(path):
    with FeatureFile(path) as file:
        assert [FeatureRows(file, memory).n_kept for memory in SIZES] == [0, 420, N_SAMPLES]


def count_rows_read(monkeypatch):
    """A list that gets the number of rows of every read of features."""
    read, counts = FeatureFile.read_span, []

    def count(self, start, stop):
        counts.append(stop - start)
        return read(self, start, stop)

    monkeypatch.setattr(FeatureFile, "read_span", count)
    monkeypatch.setattr(FeatureFile, "read_all", lambda self: pytest.fail("read a second time"))
    return counts


@pytest.mark.parametrize("options", [["--head", "logreg"], ["--head", "dense", "--epochs", 3]])
def test_features_that_fit_are_read_once(path, tmp_path, monkeypatch, options):
    counts = count_rows_read(monkeypatch)
    outcome = call("fit-head", path, *options, "--memory", "1MB", "--output", tmp_path / "run")
    assert outcome.exit_code == 0, outcome.stderr
    assert sum(counts) == N_SAMPLES


def test_features_are_compared_with_their_recorded_sha256(path, monkeypatch):
    read = FeatureFile.read_span
    with FeatureFile(path) as file:
        # As if bytes and checksum had changed together.
        monkeypatch.setattr(FeatureFile, "read_span", lambda self, *span: read(self, *span) + 1)
        with pytest.raises(FeatureFileError, match="sha256 is not the recorded one"):
            FeatureRows(file, 1)


@pytest.mark.parametrize("options", [["--head", "logreg"], ["--head", "dense", "--epochs", 6]])
def test_memory_changes_no_number(path, tmp_path, options):
    written = []
    for memory in ("1B", "200kB", "100MB"):
        run = tmp_path / memory
        outcome = call("fit-head", path, *options, "--memory", memory, "--output", run)
        assert outcome.exit_code == 0, outcome.stderr
        written.append((run / "predictions.csv").read_bytes())
    assert written[0] == written[1] == written[2]


def read_run(run):
    """Probabilities, whether a row is in train, and labels, from a run's files."""
    with (run / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    classes = json.loads((run / "classes.json").read_text())
    probabilities = np.array([[float(row[name]) for name in classes] for row in rows])
    is_train = np.array([row["split"] == "train" for row in rows])
    return probabilities, is_train, np.array([classes.index(row["label"]) for row in rows])


def test_streamed_probabilities_are_those_of_scikit_learn_and_tensorflow_is_not_imported(
    path, expected, tmp_path
):
    script = (
        "import sys; sys.argv = ['cli.py', *sys.argv[1:]]\n"
        "from cli import main\n"
        "main(standalone_mode=False)\n"
        "print(sorted(m for m in ('tensorflow', 'keras') if m in sys.modules))"
    )
    arguments = ["--memory", "1B", "--C", "0.02", "--output", "run", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-c", script, "fit-head", path, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    actual, is_train, labels = read_run(tmp_path / "run")
    regression = LogisticRegression(C=0.02, tol=1e-10, max_iter=10_000)
    pipeline = make_pipeline(StandardScaler(), regression)
    pipeline.fit(expected[is_train].astype(np.float64), labels[is_train])
    probabilities = pipeline.predict_proba(expected.astype(np.float64))
    assert probabilities.std() > 0.1
    assert np.abs(actual - probabilities).max() < 1e-3
