"""Whether a larger image size is worth its time, told by frozen heads."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from conftest import call, make_photos

from pipeline.finetuning import sizes, stages
from pipeline.finetuning.parent import open_parent
from pipeline.finetuning.sizes import (
    Sureness,
    enlarge,
    has_usual_size,
    measure_sureness,
    next_size,
)
from pipeline.finetuning.watch import Watch
from pipeline.heads.probe.left_out import LeftOut
from pipeline.heads.refit_at_size import estimate_seconds
from pipeline.runs.predictions import read_predictions
from pipeline.runs.run_folder import open_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sizes")
    make_photos(folder / "photos", n_per_class=10)
    steps = [
        ["extract", folder / "photos", "--backbone", "squeezenet1_1", "--weights", "random",
         "--image-size", 32, "--output", folder / "features.h5"],
        ["fit-head", folder / "features.h5", "--seed", 3, "--val-fraction", 0.3, "--C", 0.1,
         "--output", folder / "head"],
    ]  # fmt: skip
    for step in steps:
        outcome = call(*step)
        assert outcome.exit_code == 0, outcome.stderr
    return open_run(folder / "head")


@pytest.mark.parametrize(("size", "larger"), [(224, 288), (96, 128), (32, 64), (299, 384)])
def test_the_next_size_is_about_nine_sevenths_and_what_networks_can_halve_often(size, larger):
    assert next_size(size) == larger


def test_a_run_is_made_once_more_with_the_same_head_and_division(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sizes, "measure_sureness", lambda run: Sureness(0.5, run.recipe.image_size))
    notes = []
    parent = open_parent(run, None, None)
    larger = enlarge(parent, tmp_path / "larger", "cpu", Watch(on_note=notes.append)).run
    assert larger.recipe.image_size == 64 and larger.folder == tmp_path / "larger"
    assert larger.manifest.parameters["C"] == 0.1 and larger.manifest.parameters["seed"] == 3
    before, after = read_predictions(run), read_predictions(larger)
    np.testing.assert_array_equal(after.splits, before.splits)
    assert after.paths == before.paths
    # Its features are those that extract makes at this size.
    call("extract", parent.root, "--backbone", "squeezenet1_1", "--weights", "random",
         "--image-size", 64, "--output", tmp_path / "own.h5")  # fmt: skip
    (made,) = (tmp_path / "cache").glob("*.h5")
    with h5py.File(made) as one, h5py.File(tmp_path / "own.h5") as other:
        np.testing.assert_array_equal(one["features"][:], other["features"][:])
    assert any("So it goes on with" in note for note in notes)
    assert not any("Computing on" in note for note in notes)  # whoever enlarges has said it
    # A second search finds the run, and makes none.
    again = enlarge(parent, tmp_path / "larger", "cpu", Watch())
    assert again.run.folder == tmp_path / "larger"


def test_a_run_that_lies_there_and_is_another_one_is_not_taken(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call(
        "fit-head", run.folder.parent / "features.h5", "--seed", 4, "--output", tmp_path / "larger"
    )
    parent, notes = open_parent(run, None, None), []
    assert enlarge(parent, tmp_path / "larger", "cpu", Watch(on_note=notes.append)) is parent
    assert "This is not the same run at another image size." in notes[-1]
    assert (tmp_path / "larger").is_dir()


def test_where_larger_images_are_no_better_the_run_stays(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sizes, "measure_sureness", lambda run: Sureness(0.5, 0.5))
    parent, notes = open_parent(run, None, None), []
    assert enlarge(parent, tmp_path / "larger", "cpu", Watch(on_note=notes.append)) is parent
    assert "So it stays at 32." in notes[-1]


def test_features_that_are_gone_are_a_reason_to_stay(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = run.folder.parent / "features.h5"
    path.rename(tmp_path / "away.h5")
    try:
        parent, notes = open_parent(run, None, None), []
        assert enlarge(parent, tmp_path / "larger", "cpu", Watch(on_note=notes.append)) is parent
    finally:
        (tmp_path / "away.h5").rename(path)
    assert "Images of 64 pixels in place of 32 are not tried: " in notes[-1]


def test_an_extraction_that_takes_too_much_of_the_budget_is_not_begun(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sizes, "estimate_seconds", lambda run, size, n, **how: 2.0 * n)
    parent, notes = open_parent(run, None, None), []
    watch = Watch(on_note=notes.append)
    assert enlarge(parent, tmp_path / "larger", "cpu", watch, budget=120.0) is parent
    assert notes == [
        "Images of 64 pixels in place of 32 are not tried: To extract them would take about 1 min "
        "of the 2 min that there are."
    ]
    assert not list(tmp_path.iterdir())


def test_what_an_extraction_takes_grows_with_the_images(run):
    few, many = (estimate_seconds(run, 64, n, device="cpu") for n in (10, 10_000))
    assert 0.04 < few < many
    assert many > 40


def test_sureness_is_of_training_images_alone(run, monkeypatch):
    given = {}

    def leave_each_out(features, labels, units):
        given.update(features=features, labels=labels, units=units)
        return LeftOut(np.array([True, False]), np.array([0.6, 0.3]), units)

    monkeypatch.setattr(sizes, "leave_each_out", leave_each_out)
    assert measure_sureness(run) == Sureness(0.5, pytest.approx(0.45))
    said = read_predictions(run)
    with h5py.File(run.folder.parent / "features.h5") as file:
        rows = {path.decode(): row for row, path in enumerate(file["path"][:])}
        used = [n for n, split in enumerate(said.splits) if split == 0]
        expected = file["features"][:][[rows[said.paths[n]] for n in used]]
    np.testing.assert_array_equal(given["features"], expected)
    np.testing.assert_array_equal(given["labels"], said.labels[used])


def test_training_takes_larger_images_where_nobody_chose_the_size(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sizes, "measure_sureness", lambda run: Sureness(0.5, run.recipe.image_size))

    def train(name, *options):
        outcome = call("finetune", run.folder, "--epochs", 1, "--device", "cpu", *options,
                       "--output", tmp_path / name)  # fmt: skip
        assert outcome.exit_code == 0, outcome.stderr
        return open_run(tmp_path / name).recipe.image_size

    assert not has_usual_size(run)
    assert train("as it is") == 32
    monkeypatch.setattr(stages, "has_usual_size", lambda run: True)
    assert train("larger") == 64
    assert train("kept", "--keep-size") == 32


def test_the_usual_size_is_the_one_of_the_network(run):
    recipe = replace(run.recipe, image_size=224)
    assert has_usual_size(replace(run, manifest=replace(run.manifest, recipe=recipe)))
