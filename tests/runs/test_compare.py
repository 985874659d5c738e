"""Which of two runs is better: on common images that trained neither, by McNemar's exact test."""

import json

import numpy as np
import pytest
from conftest import call
from manifests import make_manifest
from scipy.stats import binomtest

from pipeline.errors import RunError
from pipeline.runs.compare import compare_runs
from pipeline.runs.predictions import Predictions, write_predictions
from pipeline.runs.records import write_digests

NAMES = ["daisy", "rose"]


def write_run(folder, splits, labels, called, numbers=None):
    """A run whose images are known by number."""
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(make_manifest()))
    n = len(splits)
    numbers = np.arange(n) if numbers is None else np.asarray(numbers)
    digests = np.zeros((n, 32), np.uint8)
    digests[:, 0], digests[:, 1] = numbers % 256, numbers // 256
    write_digests(folder, digests)
    paths = [f"{number}.jpg" for number in numbers]
    splits, labels = np.array(splits, np.int8), np.array(labels, np.int32)
    probabilities = np.eye(2, dtype=np.float32)[called]
    write_predictions(folder, Predictions(paths, splits, labels, probabilities), NAMES)
    return folder


@pytest.fixture
def pair(tmp_path):
    """300 images, 100 of each split; B is right far more often than A."""
    rng = np.random.default_rng(0)
    splits, labels = np.repeat([0, 1, 2], 100), rng.integers(0, 2, 300)
    a_right, b_right = rng.random(300) < 0.7, rng.random(300) < 0.9
    a = write_run(tmp_path / "runs/a", splits, labels, np.where(a_right, labels, 1 - labels))
    order = rng.permutation(300)  # B has them in another order
    b_called = np.where(b_right, labels, 1 - labels)
    b = write_run(tmp_path / "runs/b", splits[order], labels[order], b_called[order], order)
    return a, b, a_right[200:], b_right[200:]


def test_counts_and_p_value_are_those_of_the_common_test_images(pair):
    a, b, a_right, b_right = pair
    found = compare_runs(a, b)
    only_a, only_b = int((a_right & ~b_right).sum()), int((~a_right & b_right).sum())
    assert (found.split, found.n_images) == ("test", 100)
    assert (found.only_a_right, found.only_b_right) == (only_a, only_b)
    assert found.accuracies == (a_right.mean(), b_right.mean())
    assert found.p_value == pytest.approx(binomtest(only_a, only_a + only_b).pvalue)
    swapped = compare_runs(b, a)
    assert swapped.p_value == found.p_value
    assert swapped.only_a_right == only_b


def test_command_says_it_in_80_columns_and_as_json(pair):
    words = call("runs", "--compare", "a", "b").stdout
    assert all(len(line) <= 80 for line in words.splitlines())
    assert "100 images that neither run was trained on (test split):" in words
    assert "B is better." in words
    assert "McNemar's exact test: p < 0.001" in words
    found = json.loads(call("runs", "--compare", "runs/a", "runs/b", "--json").stdout)
    assert found["n_images"] == 100
    assert found["is_optimistic"] is False
    both = call("runs", "runs", "--compare", "a", "b")
    assert both.exit_code == 2


def test_without_common_test_images_validation_is_compared_and_said_to_flatter(tmp_path):
    splits, labels = [0, 0, 1, 1, 1, 1, 1, 1, 1, 1], [0, 1] * 5
    a = write_run(tmp_path / "a", splits, labels, [0, 1] * 5)
    b = write_run(tmp_path / "b", splits, labels, [1, 0] * 5)
    found = compare_runs(a, b)
    assert (found.split, found.n_images, found.only_a_right) == ("val", 8, 8)
    assert "flatters" in " ".join(found.describe())


def test_images_that_trained_one_run_or_have_another_label_do_not_count(tmp_path):
    a = write_run(tmp_path / "a", [1, 1, 1, 1, -1], [0, 1, 0, 1, -1], [0, 1, 0, 1, 0])
    b = write_run(tmp_path / "b", [0, 1, 2, 1, 1], [0, 1, 0, 0, 0], [0, 1, 0, 0, 0])
    found = compare_runs(a, b)
    assert (found.n_images, found.both_right, found.n_other_labels) == (2, 2, 1)
    assert found.p_value == 1
    assert "may be chance" in " ".join(found.describe())


def test_runs_of_other_images_cannot_be_compared(tmp_path):
    a = write_run(tmp_path / "a", [0, 1], [0, 1], [0, 1])
    b = write_run(tmp_path / "b", [0, 1], [0, 1], [0, 1], numbers=[7, 8])
    with pytest.raises(RunError, match="no image was scored by both"):
        compare_runs(a, b)
    (b / "digests.npy").unlink()
    with pytest.raises(RunError, match="does not say which images"):
        compare_runs(a, b)
    outcome = call("runs", "--compare", a, tmp_path / "nothing")
    assert outcome.exit_code == 1
    assert "There is no such run" in outcome.stderr
