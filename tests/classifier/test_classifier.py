"""Backbone and head as one model, and the check that it is the one that was recorded."""

import json
import pickle
import shutil
from contextlib import nullcontext

import numpy as np
import pytest

from pipeline.classifier.build import load_classifier
from pipeline.classifier.parity import check_model_parity
from pipeline.classifier.parts import load_parts
from pipeline.errors import ParityError
from pipeline.runs.run_folder import open_run


def rewrite_npz(path, **changes):
    with np.load(path, allow_pickle=False) as file:
        arrays = {**file, **changes}
    np.savez(path, **arrays)


def write_engine(run, engine):
    facts = json.loads((run / "manifest.json").read_text())
    facts |= {"engine": engine} if engine else {"engine": {"name": "unknown"}}
    (run / "manifest.json").write_text(json.dumps(facts))


def check(run, model, *, is_gpu=False):
    return check_model_parity(run, model, is_gpu=is_gpu, data_root=None)


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
    with pytest.raises(ParityError, match="only in the head: 'brown'; only in the run: 'green'"):
        load_classifier(open_run(copied))
    rewrite_npz(copied / "head.npz", class_names=np.array(json.dumps(["blue", "red", "green"])))
    with pytest.raises(ParityError, match="in another order, class 2: 'red' instead of 'green'"):
        load_classifier(open_run(copied))


def test_features_made_on_a_gpu_may_differ_more(copied):
    """0.5% of the greatest feature: too much between two CPUs, usual between CPU and GPU."""
    write_engine(copied, {"name": "litert", "device": "cpu", "batch_size": 128})
    with np.load(copied / "probes.npz", allow_pickle=False) as file:
        features = file["features"]
    rewrite_npz(copied / "probes.npz", features=features + 0.005 * np.abs(features).max())
    model = load_classifier(open_run(copied))
    with pytest.raises(ParityError, match="backbone gives other features"):
        check(open_run(copied), model)
    assert check(open_run(copied), model, is_gpu=True).difference == pytest.approx(0.005, rel=0.05)
    write_engine(copied, {"name": "tensorflow", "device": "gpu", "batch_size": 1})
    parity = check(open_run(copied), model)
    assert parity.difference == pytest.approx(0.005, rel=0.05)
    assert parity.notes == []


@pytest.mark.parametrize(
    ("precision", "most"), [("float32", 1e-3), ("mixed_float16", 2e-2), ("mixed_bfloat16", 6e-2)]
)
def test_features_may_differ_as_much_as_their_precision_was_seen_to(copied, precision, most):
    """4.9e-2 was seen of bfloat16 on an H200, 7.3e-3 of float16: docs/performance.md."""
    write_engine(copied, {"name": "jax", "device": "cpu", "precision": precision})
    with np.load(copied / "probes.npz", allow_pickle=False) as file:
        features = file["features"]
    model = load_classifier(open_run(copied))
    for share, is_refused in ((0.8, False), (1.2, True)):
        moved = features + share * most * np.abs(features).max()
        rewrite_npz(copied / "probes.npz", features=moved)
        with pytest.raises(ParityError, match=f"of {most:g} of") if is_refused else nullcontext():
            check(open_run(copied), model)


def test_features_of_which_nobody_knows_what_made_them_may_differ_more_and_that_is_said(copied):
    """A large batch once stood for a GPU; now nothing is guessed."""
    with np.load(copied / "probes.npz", allow_pickle=False) as file:
        features = file["features"]
    model = load_classifier(open_run(copied))
    write_engine(copied, None)
    assert check(open_run(copied), model).notes == []
    rewrite_npz(copied / "probes.npz", features=features + 0.005 * np.abs(features).max())
    (note,) = check(open_run(copied), model).notes
    assert "the run does not say what made them" in note
    rewrite_npz(copied / "probes.npz", features=features + 0.05 * np.abs(features).max())
    with pytest.raises(ParityError, match="backbone gives other features"):
        check(open_run(copied), model)


@pytest.mark.parametrize(("device", "is_refused"), [("GPU 0, Tesla T4", False), ("CPU", True)])
def test_old_fine_tuned_run_is_taken_at_its_word_about_the_device(
    finetuned, tmp_path, device, is_refused
):
    shutil.copytree(finetuned, tmp_path / "run")
    facts = json.loads((tmp_path / "run/manifest.json").read_text())
    del facts["engine"]
    facts |= {"version": 1, "device": device}
    (tmp_path / "run/manifest.json").write_text(json.dumps(facts))
    with np.load(tmp_path / "run/probes.npz", allow_pickle=False) as file:
        features = file["features"]
    rewrite_npz(tmp_path / "run/probes.npz", features=features + 0.005 * np.abs(features).max())
    run = open_run(tmp_path / "run")
    with pytest.raises(ParityError) if is_refused else nullcontext():
        assert check(run, load_classifier(run)).notes == []


def test_a_run_in_half_precision_can_be_rebuilt_in_full(copied):
    facts = json.loads((copied / "manifest.json").read_text())
    facts["recipe"]["precision"] = "mixed_float16"
    (copied / "manifest.json").write_text(json.dumps(facts))

    def dtypes(model):
        return {layer.compute_dtype for layer in model.get_layer("backbone")._flatten_layers()}

    assert "float16" in dtypes(load_classifier(open_run(copied)))
    assert dtypes(load_classifier(open_run(copied), precision="float32")) == {"float32"}


def test_a_network_that_is_not_built_yet_can_be_built_in_another_process(fitted, finetuned):
    """It is described there, not sent: what an engine in another process needs."""
    for run, n_features in ((fitted, 1280), (finetuned, 1280)):
        (network,), _ = load_parts(open_run(run))
        there = pickle.dumps(network.build)
        assert network.model.output_shape == (None, n_features)
        assert pickle.dumps(network.build) == there
        assert len(there) < 2000
    assert pickle.loads(there)().output_shape == (None, n_features)
