"""A run's model is run by the engine that made the features; where that is not there, by another
one, which is measured on the probes.
"""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import call

from pipeline.backbones.engines import jax_engine
from pipeline.backbones.engines.device import Device, describe_cpu
from pipeline.backbones.engines.opening import find_device
from pipeline.backbones.engines.registry import ENGINES, EngineKind
from pipeline.classifier.load import load_run
from pipeline.errors import MissingExtraError, ParityError
from pipeline.runs.predictions import read_predictions
from pipeline.runs.run_folder import open_run


class Colours:
    """An engine of its own kind: rows are mean colours, as no other engine would give them."""

    name, version, precision = "colours", "1", "float32"
    batch_size, takes_fewer, n_features, n_streams = 4, False, 3, 1

    def __init__(self, network, device, batch_size, n_streams):
        self.device, self.notes = device, ["Looks at colours."]

    def __call__(self, pixels):
        return pixels.mean((1, 2)).astype(np.float32)

    def advise(self):
        return []


def find_cpu(wanted):
    return describe_cpu()


def find_gpu_of_tensorflow(wanted):
    return Device("/GPU:0", "GPU 0")


def find_gpu_of_jax(wanted):
    return Device("/GPU:0", "GPU 0, with JAX", seen_by="jax")


COLOURS = EngineKind("colours", "Colours", f"{__name__}:Colours", ("cpu",), f"{__name__}:find_cpu")


@pytest.fixture
def run_of_colours(photos, tmp_path, monkeypatch):
    """A run with a head on rows of an engine that is not the first one."""
    monkeypatch.setitem(ENGINES, "colours", COLOURS)
    how = ("--weights", "random", "--image-size", 24, "--engine", "colours")
    assert call("extract", photos, *how, "--output", tmp_path / "f.h5").exit_code == 0
    assert call("fit-head", tmp_path / "f.h5", "--output", tmp_path / "run").exit_code == 0
    return tmp_path / "run"


def test_predict_and_evaluate_compute_with_the_engine_that_made_the_features(
    run_of_colours, photos
):
    recorded = read_predictions(open_run(run_of_colours))
    model = load_run(run_of_colours)
    assert "Looks at colours." in model.notes
    found = model.predict([photos / path for path in recorded.paths])
    probabilities = np.stack([prediction.probabilities for prediction in found])
    np.testing.assert_allclose(probabilities, recorded.probabilities, atol=1e-6)
    (photos.parent / "f.h5").unlink()  # or its rows would be taken
    for words in (("predict", run_of_colours, photos), ("evaluate", run_of_colours, photos)):
        outcome = call(*words)
        assert outcome.exit_code == 0, outcome.stderr
        assert "Looks at colours." in outcome.stderr


@pytest.fixture
def copied(fitted, tmp_path, monkeypatch):
    """Lets a copy of the run say that a JAX that is not installed made its features."""

    def no_jax():
        raise MissingExtraError("no JAX")

    monkeypatch.setattr(jax_engine, "require_jax", no_jax)
    run = shutil.copytree(fitted, tmp_path / "run")
    (run / "parity.json").unlink(missing_ok=True)
    facts = json.loads((run / "manifest.json").read_text())
    facts["engine"] = {"name": "jax", "version": "0.11.2", "device": "cpu", "device_name": "Xeon"}
    (run / "manifest.json").write_text(json.dumps(facts))
    return run


def test_where_that_engine_is_not_there_another_is_measured_on_the_probes_and_that_is_said(copied):
    notes = load_run(copied, device="cpu").notes
    (note,) = [note for note in notes if "greatest difference" in note]
    assert f"The features of {copied} were made by jax 0.11.2 on Xeon, and openvino" in note
    assert note.endswith("measured on 8 images; up to 0.001 is rounding.")
    assert not any("greatest difference" in said for said in load_run(copied, device="cpu").notes)


@pytest.mark.parametrize(("share", "is_refused"), [(0.8, False), (1.2, True)])
@pytest.mark.parametrize(
    ("device", "precision", "most"),
    [("cpu", "", 1e-3), ("gpu", "", 2e-2), ("gpu", "mixed_bfloat16", 6e-2)],
)
def test_another_engine_may_differ_as_much_as_the_two_round(
    copied, device, precision, most, share, is_refused
):
    facts = json.loads((copied / "manifest.json").read_text())
    facts["engine"] |= {"device": device, "precision": precision}
    (copied / "manifest.json").write_text(json.dumps(facts))
    with np.load(copied / "probes.npz", allow_pickle=False) as file:
        arrays = dict(file)
    arrays["features"] = arrays["features"] + share * most * np.abs(arrays["features"]).max()
    np.savez(copied / "probes.npz", **arrays)
    if is_refused:
        with pytest.raises(ParityError, match=f"greatest difference of {most:g} of"):
            load_run(copied, device="cpu")
    else:
        notes = load_run(copied, device="cpu").notes
        assert any(f"up to {most:g} is rounding" in said for said in notes)


def test_of_two_libraries_that_see_a_gpu_the_one_that_made_the_features_is_taken(monkeypatch):
    for name, kind in list(ENGINES.items()):
        finder = "find_gpu_of_jax" if name == "jax" else "find_gpu_of_tensorflow"
        monkeypatch.setitem(ENGINES, name, replace(kind, finds_device=f"{__name__}:{finder}"))
    assert find_device("auto").seen_by == "tensorflow"
    assert find_device("auto", preferred="jax").seen_by == "jax"
    assert find_device("auto", preferred="tensorflow").seen_by == "tensorflow"
