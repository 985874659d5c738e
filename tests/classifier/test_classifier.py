"""Backbone and head as one model, and the check that it is the one that was recorded."""

import json
import shutil

import numpy as np
import pytest

from pipeline.classifier.build import check_parity, load_classifier
from pipeline.errors import ParityError
from pipeline.runs.run_folder import open_run


def rewrite_npz(path, **changes):
    with np.load(path, allow_pickle=False) as file:
        arrays = {**file, **changes}
    np.savez(path, **arrays)


@pytest.fixture
def copied(fitted, tmp_path):
    shutil.copytree(fitted, tmp_path / "run")
    return tmp_path / "run"


def test_head_of_other_classes_is_refused_and_they_are_named(copied):
    names = np.array(json.dumps(["blue", "brown", "red"]))
    with np.load(copied / "head.npz", allow_pickle=False) as file:
        kept = file["class_names"]
    assert json.loads(str(kept)) == ["blue", "green", "red"]
    rewrite_npz(copied / "head.npz", class_names=names)
    with pytest.raises(ParityError, match="only in the head: brown; only in the run: green"):
        load_classifier(open_run(copied))


def test_features_made_on_a_gpu_may_differ_more(copied):
    """0.5% of the greatest feature: too much between two CPUs, usual between CPU and GPU."""
    with np.load(copied / "probes.npz", allow_pickle=False) as file:
        features = file["features"]
    rewrite_npz(copied / "probes.npz", features=features + 0.005 * np.abs(features).max())
    model = load_classifier(open_run(copied))
    with pytest.raises(ParityError, match="backbone gives other features"):
        check_parity(open_run(copied), model, is_gpu=False, data_root=None)
    facts = json.loads((copied / "manifest.json").read_text())
    (copied / "manifest.json").write_text(json.dumps({**facts, "features_batch_size": 128}))
    parity = check_parity(open_run(copied), model, is_gpu=False, data_root=None)
    assert parity == pytest.approx(0.005, rel=0.05)
    (copied / "manifest.json").write_text(json.dumps({**facts, "device": "GPU 0, Tesla T4"}))
    check_parity(open_run(copied), model, is_gpu=False, data_root=None)


def test_a_run_in_half_precision_can_be_rebuilt_in_full(copied):
    facts = json.loads((copied / "manifest.json").read_text())
    facts["recipe"]["precision"] = "mixed_float16"
    (copied / "manifest.json").write_text(json.dumps(facts))

    def dtypes(model):
        return {layer.compute_dtype for layer in model.get_layer("backbone")._flatten_layers()}

    assert "float16" in dtypes(load_classifier(open_run(copied)))
    assert dtypes(load_classifier(open_run(copied), precision="float32")) == {"float32"}
