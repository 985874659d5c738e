"""Evaluating takes the rows that feature files have: the same scores, and no network is loaded."""

import json
import os

import numpy as np
import pytest
from conftest import call, make_photos, save_image

from pipeline.classifier import predict as module
from pipeline.classifier.evaluation.evaluate import evaluate

OPTIONS = ("--backbone", "efficientnet-lite0", "--image-size", 32)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cached")
    make_photos(folder / "photos")
    for step in (
        ["extract", folder / "photos", *OPTIONS, "--output", folder / "f.h5"],
        ["fit-head", folder / "f.h5", "--output", folder / "run"],
    ):
        assert call(*step).exit_code == 0
    return folder


def test_rows_that_are_there_load_no_network_and_give_the_same_scores(made, monkeypatch):
    anew = evaluate(made / "run", made / "photos", use_cache=False)
    monkeypatch.setattr(module, "load_run", lambda *a, **k: pytest.fail("the network was loaded"))
    notes = []
    cached = evaluate(made / "run", made / "photos", on_note=notes.append)
    assert f"The features of 24 of 24 images are in {made / 'f.h5'} already." in notes
    assert cached.metrics.log_loss == pytest.approx(anew.metrics.log_loss, abs=1e-4)
    np.testing.assert_array_equal(cached.metrics.confusion_matrix, anew.metrics.confusion_matrix)
    assert cached.overlap == anew.overlap
    part = evaluate(made / "run", made / "photos", split=None, on_note=notes.append)
    assert part.metrics.n_samples == 24


def test_a_folder_of_the_data_set_is_found_too(made, monkeypatch, tmp_path):
    """Only its classes are below another root; a link to the photos leads to the same files."""
    monkeypatch.setattr(module, "load_run", lambda *a, **k: pytest.fail("the network was loaded"))
    (tmp_path / "link").symlink_to(made / "photos")
    assert evaluate(made / "run", tmp_path / "link").metrics.n_samples == 24


def test_an_image_that_is_new_or_changed_is_embedded_and_the_others_are_not(made, tmp_path):
    photos = made / "photos"
    save_image(photos / "red" / "new.png", seed=5, colour=(210, 50, 40))
    changed = photos / "blue" / "000.png"
    before = changed.read_bytes()
    save_image(changed, seed=6, colour=(210, 50, 40))  # a red image among the blue ones
    os.utime(changed, ns=(1, 1))
    try:
        notes = []
        found = evaluate(made / "run", photos, on_note=notes.append)
        assert any(note.startswith("The features of 23 of 25 images") for note in notes)
        assert list(found.metrics.confusion_matrix[0]) == [7, 0, 1]
    finally:
        changed.write_bytes(before)
        (photos / "red" / "new.png").unlink()


def test_rows_of_another_recipe_or_of_a_damaged_file_are_not_taken(made, tmp_path):
    other = tmp_path / "other"
    steps = (
        ["extract", made / "photos", *OPTIONS[:3], 40, "--output", other / "f.h5"],
        ["fit-head", other / "f.h5", "--output", other / "run"],
    )
    for step in steps:
        assert call(*step).exit_code == 0
    (other / "f.h5").write_bytes((made / "f.h5").read_bytes())  # of 32 pixels now
    (other / "a.h5").write_bytes(b"no feature file")
    outcome = call("evaluate", other / "run", made / "photos", "--json")
    assert outcome.exit_code == 0
    assert "are in" not in outcome.stderr
    anew = call("evaluate", other / "run", made / "photos", "--no-cache", "--json")
    assert json.loads(outcome.stdout) == json.loads(anew.stdout)
