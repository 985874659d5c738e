"""A run that was fitted on views: its scores, its predictions and its evaluation agree."""

import json
import shutil

import numpy as np
import pytest
from conftest import call, make_photos
from PIL import Image

import frostline
from pipeline.classifier import predict as predicting
from pipeline.errors import ParameterError, RunError
from pipeline.images.augmentation.augment import AUGMENTATION_VERSION
from pipeline.runs.predictions import read_predictions

HOW = ("--backbone", "efficientnet-lite0", "--image-size", 32)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A feature file with three views, and a run that averages over them."""
    folder = tmp_path_factory.mktemp("viewed")
    make_photos(folder / "photos")
    for step in (
        ("extract", folder / "photos", *HOW, "--views", 3, "--output", folder / "f.h5"),
        ("extract", folder / "photos", *HOW, "--output", folder / "without.h5"),
        ("fit-head", folder / "f.h5", "--tta", "--calibrate", "--output", folder / "run"),
        ("fit-head", folder / "f.h5", "--output", folder / "viewed"),
        ("fit-head", folder / "f.h5", "--no-views", "--output", folder / "plain"),
    ):
        outcome = call(*step)
        assert outcome.exit_code == 0, outcome.stderr
    return folder


def said_by(folder):
    return read_predictions(frostline.open_run(folder)).probabilities


def test_predict_says_what_the_run_says_of_the_same_images(made):
    said = read_predictions(frostline.open_run(made / "run"))
    assert not np.allclose(said.probabilities, said_by(made / "viewed"), atol=1e-3)
    model = frostline.load(made / "run")
    images = [made / "photos" / path for path in said.paths]
    found = np.stack([one.probabilities for one in model.predict(images)])
    np.testing.assert_allclose(found, said.probabilities, atol=1e-4)
    alone = model.predict(images[5:6])[0]
    np.testing.assert_allclose(alone.probabilities, found[5], atol=1e-5)
    with Image.open(images[5]) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    first, second = model.predict([pixels, pixels])
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    (made / "bad.jpg").write_bytes(b"no image")
    outcome = call("predict", made / "run", made / "bad.jpg", images[0], "--json")
    refused, answer = json.loads(outcome.stdout)
    assert "skipped" in refused
    assert answer["classes"][0]["probability"] == pytest.approx(found[0].max(), abs=1e-5)


def test_evaluation_takes_cached_views_and_makes_those_of_other_images(made, monkeypatch, tmp_path):
    anew = frostline.evaluate(made / "run", made / "photos", use_cache=False)
    with monkeypatch.context() as patch:
        patch.setattr(predicting, "load_run", lambda *a, **k: pytest.fail("a network was loaded"))
        cached = frostline.evaluate(made / "run", made / "photos")
    assert cached.metrics.log_loss == pytest.approx(anew.metrics.log_loss, abs=1e-4)
    run = shutil.copytree(made / "run", tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    shutil.copy(made / "without.h5", tmp_path / "f.h5")
    manifest["features_file"] = str(tmp_path / "f.h5")
    (run / "manifest.json").write_text(json.dumps(manifest))
    notes = []
    anew = frostline.evaluate(run, made / "photos", on_note=notes.append)
    assert not any("already" in note for note in notes)
    assert anew.metrics.log_loss == pytest.approx(cached.metrics.log_loss, abs=1e-4)


def test_the_run_records_what_it_was_fitted_on(made):
    views = {"number": 3, "augment": "light", "seed": 0, "version": AUGMENTATION_VERSION}
    manifests = {
        name: json.loads((made / name / "manifest.json").read_text())
        for name in ("run", "viewed", "plain")
    }
    assert {name: one["views"] for name, one in manifests.items()} == {
        "run": views, "viewed": views, "plain": None
    }  # fmt: skip
    assert {name: one["tta"] for name, one in manifests.items()} == {
        "run": views, "viewed": None, "plain": None
    }  # fmt: skip
    trained = "Trained on 3 views of each image (light, seed 0)."
    assert f"{trained} Answers are averaged over them." in manifests["run"]["notes"]
    assert trained in manifests["viewed"]["notes"]
    assert manifests["viewed"]["parameters"]["views"] == 3
    assert manifests["plain"]["parameters"]["views"] == 1


def test_without_views_the_head_is_that_of_a_file_without_any(made, tmp_path):
    outcome = call("fit-head", made / "without.h5", "--no-views", "--output", tmp_path / "run")
    assert "--no-views changes nothing: the feature file has no views." in outcome.stderr
    np.testing.assert_array_equal(said_by(tmp_path / "run"), said_by(made / "plain"))
    assert not np.array_equal(said_by(made / "viewed"), said_by(made / "plain"))
    outcome = call("fit-head", made / "without.h5", "--tta", "--output", tmp_path / "no")
    assert outcome.exit_code == 1
    assert "no views to average over. Expected some with --tta. Received: " in outcome.stderr
    assert "Make them: `python cli.py extract DATA --views 4`." in outcome.stderr
    with pytest.raises(ParameterError, match="trained on, too"):
        frostline.fit_head(made / "f.h5", tta=True, views=False)
    assert not (tmp_path / "no").exists()


def test_fine_tuning_goes_on_from_one_view_only(made, tmp_path):
    with pytest.raises(RunError, match=r"averages its answers over 3 views of each image"):
        frostline.finetune(made / "run", output=tmp_path / "tuned")
    assert not (tmp_path / "tuned").exists()


def test_views_of_another_version_are_not_averaged_over(made, tmp_path):
    run = shutil.copytree(made / "run", tmp_path / "run")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["tta"]["version"] += 1
    (run / "manifest.json").write_text(json.dumps(manifest))
    for use in (frostline.predict, frostline.evaluate):
        with pytest.raises(RunError, match=f"Expected version {AUGMENTATION_VERSION} of the augm"):
            use(run, made / "photos")


def test_few_images_train_on_their_views(made, tmp_path):
    how = {"seeds": 3, "shots": [2]}
    viewed = frostline.fit_shots(made / "f.h5", output=tmp_path / "a", **how)
    plain = frostline.fit_shots(made / "f.h5", views=False, output=tmp_path / "b", **how)
    averaged = frostline.fit_shots(made / "f.h5", tta=True, output=tmp_path / "c", **how)
    assert [one.shots[0].n_images for one in (viewed, plain, averaged)] == [6, 6, 6]
