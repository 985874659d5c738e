"""What a run says of each image comes back to the last bit, of few classes and of many."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.errors import RunError
from pipeline.runs.predictions import (
    Predictions,
    read_images,
    read_predictions,
    read_splits,
    write_predictions,
)


def make_predictions(n_samples, n_classes, seed=0):
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.full(n_classes, 0.3), n_samples).astype(np.float32)
    labels = random.integers(-1, n_classes, n_samples).astype(np.int32)
    splits = random.integers(-1, 3, n_samples).astype(np.int8)
    return Predictions([f"a/{n}.png" for n in range(n_samples)], splits, labels, probabilities)


def name_classes(n):
    return [f"class {number}" for number in range(n)]


def write(folder, predictions):
    names = name_classes(predictions.probabilities.shape[1])
    folder.mkdir(exist_ok=True)
    write_predictions(folder, predictions, names)
    return SimpleNamespace(folder=folder, class_names=names)


def read_rows(run):
    with (run.folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("n_classes", [2, 100, 101, 300])
def test_predictions_come_back_to_the_last_bit(tmp_path, n_classes):
    before = make_predictions(40, n_classes)
    run = write(tmp_path / "run", before)
    after = read_predictions(run)
    assert after.paths == before.paths
    for name in ("splits", "labels", "probabilities"):
        assert np.array_equal(getattr(after, name), getattr(before, name))
        assert getattr(after, name).dtype == getattr(before, name).dtype
    assert np.array_equal(read_splits(run), before.splits)
    assert read_images(run)[0] == before.paths


def test_of_up_to_a_hundred_classes_the_table_has_every_probability(tmp_path):
    before = make_predictions(10, 100)
    run = write(tmp_path / "run", before)
    for row, expected in zip(read_rows(run), before.probabilities, strict=True):
        found = np.array([float(row[name]) for name in run.class_names])
        np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_of_more_classes_it_has_the_labels_and_the_five_highest(tmp_path):
    before = make_predictions(10, 300)
    run = write(tmp_path / "run", before)
    rows = read_rows(run)
    assert len(rows[0]) == 4 + 1 + 2 * 5
    for row, label, expected in zip(rows, before.labels, before.probabilities, strict=True):
        assert row["predicted"] == row["class_1"] == run.class_names[expected.argmax()]
        highest = sorted(expected.tolist(), reverse=True)[:5]
        for rank, probability in enumerate(highest, start=1):
            assert float(row[f"probability_{rank}"]) == pytest.approx(probability, rel=1e-7)
            named = run.class_names.index(row[f"class_{rank}"])
            assert expected[named] == pytest.approx(probability)
        if label < 0:
            assert row["probability_of_label"] == ""
        else:
            assert float(row["probability_of_label"]) == pytest.approx(expected[label], rel=1e-7)


def test_two_thousand_classes_take_a_fraction_of_what_they_took(tmp_path):
    """3 images of each of 2,000 classes took 168 MB of text; this is a tenth of them."""
    write(tmp_path / "run", make_predictions(600, 2000))
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "run").iterdir()}
    assert sizes["predictions.csv"] < 200 * 600
    assert sizes["predictions.npz"] < 600 * 2000 * 4 + 1000


def test_a_run_of_old_has_its_probabilities_in_the_table_alone(tmp_path):
    before = make_predictions(10, 4)
    run = write(tmp_path / "run", before)
    (tmp_path / "run/predictions.npz").unlink()
    after = read_predictions(run)
    np.testing.assert_allclose(after.probabilities, before.probabilities, rtol=1e-7)
    assert np.array_equal(after.labels, before.labels)


def test_many_classes_without_the_array_are_an_error_that_names_it(tmp_path):
    run = write(tmp_path / "run", make_predictions(10, 200))
    (tmp_path / "run/predictions.npz").unlink()
    with pytest.raises(RunError, match=r"there is no predictions\.npz beside it"):
        read_predictions(run)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((9, 4), np.float32),
        np.zeros((10, 5), np.float32),
        np.zeros((10, 4)),
        np.full((10, 4), np.nan, np.float32),
        np.array([[{}]], object),
    ],
    ids=["rows", "columns", "type", "nan", "objects"],
)
def test_an_array_that_is_not_of_these_images_and_classes_is_refused(tmp_path, array):
    run = write(tmp_path / "run", make_predictions(10, 4))
    np.savez(tmp_path / "run/predictions.npz", probabilities=array)
    with pytest.raises(RunError, match=r"cannot be read.*predictions\.npz"):
        read_predictions(run)


@pytest.mark.parametrize("damage", [b"", b"PK nothing", b"\x93NUMPY"])
def test_a_damaged_array_is_one_error(tmp_path, damage):
    run = write(tmp_path / "run", make_predictions(10, 4))
    (tmp_path / "run/predictions.npz").write_bytes(damage)
    with pytest.raises(RunError, match=r"predictions\.npz"):
        read_predictions(run)
