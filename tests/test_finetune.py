"""Fine-tuning end to end: what may change, what must not, and what the run says of it."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import call

from pipeline import training
from pipeline.checkpoint import State, read_checkpoint, write_checkpoint
from pipeline.embedder import choose_device
from pipeline.errors import DeviceError, FrostlineError, ParityError, RunError
from pipeline.finetune import Watch, finetune
from pipeline.finetune_options import FinetuneOptions
from pipeline.runs import open_run

ROOT = Path(__file__).resolve().parent.parent
# At 32 pixels the top sees 1 x 1 maps: the default rate is too high for so little.
FROZEN_LITE0 = {
    "unfreeze": "block7a",
    "epochs": 2,
    "trunk_cache": False,
    "augment": "none",
    "learning_rate": 1e-5,
}


def tune(run, output, *, notes=None, **options):
    watch = Watch(on_note=(notes if notes is not None else []).append)
    how = {name: options.pop(name) for name in ("resume", "tensorboard") if name in options}
    settings = FinetuneOptions(**{**FROZEN_LITE0, **options})
    return finetune(
        open_run(run), settings, choose_device("cpu"), output=output, watch=watch, **how
    )


def history(folder, name="val_loss"):
    with (folder / "history.csv").open() as file:
        return np.array([float(row[name]) for row in csv.DictReader(file)])


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


def test_trunk_cache_gives_the_same_loss_curve(fitted, tmp_path):
    notes = []
    tune(fitted, tmp_path / "without")
    result = tune(fitted, tmp_path / "with", trunk_cache=True, notes=notes)
    assert result.used_trunk_cache
    for name in ("train_loss", "val_loss"):
        np.testing.assert_allclose(
            history(tmp_path / "with", name), history(tmp_path / "without", name), atol=5e-3
        )
    assert any("Trunk cache used: 36 of 36 rows to compute" in note for note in notes)
    (cache,) = (tmp_path / "cache/trunk").glob("*.h5")
    # 32 pixels are 1 x 1 x 192 at block7a, in float16: 36 images.
    assert 36 * 192 * 2 < cache.stat().st_size < 60_000
    model = keras.saving.load_model(tmp_path / "with/model.keras", compile=False)
    assert model.input_shape == (None, 32, 32, 3)


@pytest.mark.slow
def test_strong_augmentation_with_everything_else_switched_on(fitted, tmp_path):
    notes = []
    tune(
        fitted,
        tmp_path / "run",
        notes=notes,
        augment="strong",
        flip=True,
        find_learning_rate=True,
        layer_decay=0.7,
        average_weights=0.9,
        precision="mixed_bfloat16",
        class_weight="balanced",
        unfreeze="2",
        batch_size=12,
        epochs=1,
        trunk_cache=None,
        tensorboard=tmp_path / "board",
    )
    facts = manifest(tmp_path / "run")
    assert facts["parameters"]["unfreeze"] == "block7a"
    assert len(facts["learning_rate_sweep"]) > 5
    assert (tmp_path / "run/plots/learning-rate.png").is_file()
    assert any("2 block(s) from the top" in note for note in notes)
    events = [
        value.tag
        for file in (tmp_path / "board").iterdir()
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]
    assert events.count("val_loss") == len(history(tmp_path / "run"))
    outcome = call("predict", tmp_path / "run", fitted.parent / "photos/red/003.png")
    assert outcome.exit_code == 0, outcome.stderr


def test_divergence_takes_up_the_last_good_weights_with_a_lower_rate(fitted, tmp_path, monkeypatch):
    step = training.Training._step
    calls = []

    def poisoned(self, batch, rate):
        calls.append(rate)
        if len(calls) == 3:
            self._model.trainable_variables[0].assign(
                self._model.trainable_variables[0] * float("nan")
            )
        return step(self, batch, rate)

    monkeypatch.setattr(training.Training, "_step", poisoned)
    notes = []
    result = tune(fitted, tmp_path / "run", batch_size=16, notes=notes)
    assert result.last_epoch == 2
    assert np.isfinite(history(tmp_path / "run")).all()
    assert len(result.notes) == 1, result.notes
    (note,) = result.notes
    assert "Epoch 2 diverged (the loss became nan)" in note
    assert "weights after epoch 1" in note
    assert "3e-06" in note
    assert note in notes


@pytest.mark.slow
def test_too_high_a_rate_is_lowered_until_it_stops_and_is_never_worse(fitted, tmp_path):
    result = tune(fitted, tmp_path / "run", learning_rate=0.9, epochs=3, batch_size=4)
    assert result.finetuned["val"].accuracy >= result.frozen["val"].accuracy
    assert result.finetuned["val"].log_loss <= result.frozen["val"].log_loss + 1e-6


def test_out_of_memory_says_which_batch_size_to_try(fitted, tmp_path, monkeypatch):
    def exhausted(self, *batch):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(training.Replicas, "divide", exhausted)
    with pytest.raises(DeviceError, match="--batch-size 32\nTry --batch-size 16"):
        tune(fitted, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_existing_output_is_refused_before_training_starts(fitted, monkeypatch):
    monkeypatch.setattr(training.Training, "run", lambda self: pytest.fail("it trained"))
    with pytest.raises(RunError, match="exists already"):
        tune(fitted, fitted)


@pytest.mark.parametrize(
    ("option", "value"),
    [("learning_rate", 2.0), ("layer_decay", 0.0), ("views", 0), ("average_weights", 1.0)],
)
def test_values_that_make_no_sense_are_named(fitted, tmp_path, option, value):
    with pytest.raises(FrostlineError, match=f"--{option.replace('_', '-')} .*{value}"):
        tune(fitted, tmp_path / "run", **{option: value})


def test_nothing_to_resume_names_what_differs(fitted, tmp_path):
    from pipeline.finetune import _name_checkpoint
    from pipeline.unfreeze import ChosenLine

    options = FinetuneOptions(**{**FROZEN_LITE0, "epochs": 7})
    path, _, job = _name_checkpoint(
        open_run(fitted), tmp_path / "run", options, ChosenLine("block7a", "")
    )
    write_checkpoint(path, State(), job)
    with pytest.raises(RunError, match="epochs 7 there, 2 here"):
        tune(fitted, tmp_path / "run", resume=True)


def test_damaged_checkpoint_is_refused_by_name(tmp_path):
    path = tmp_path / "x.checkpoint"
    write_checkpoint(path, State(weights=[np.arange(500.0)]), {})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(RunError, match=r"cannot be read.*x\.checkpoint"):
        read_checkpoint(path)


KILLER = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from pipeline import training
from pipeline.embedder import choose_device
from pipeline.finetune import finetune
from pipeline.finetune_options import FinetuneOptions
from pipeline.runs import open_run
run, output, resume, fatal_epoch = sys.argv[2:]
step, calls = training.Training._step, []
def dying(self, batch, rate):
    calls.append(rate)
    if self.state.epoch + 1 == int(fatal_epoch) and len(calls) % 4 == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch, rate)
training.Training._step = dying
options = FinetuneOptions(
    unfreeze="block6d", epochs=4, batch_size=8, learning_rate=3e-3, trunk_cache=False,
    average_weights=0.9, layer_decay=0.8,
)
finetune(open_run(Path(run)), options, choose_device("cpu"), output=Path(output),
         resume=resume == "resume")
"""


def run_killer(fitted, output, resume, fatal_epoch):
    command = [sys.executable, "-c", KILLER, ROOT, fitted, output, resume, str(fatal_epoch)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def check_killed_and_resumed(fitted, tmp_path, fatal_epochs):
    output = tmp_path / "killed"
    for number, epoch in enumerate(fatal_epochs):
        done = run_killer(fitted, output, "resume" if number else "anew", epoch)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not output.exists()
    done = run_killer(fitted, output, "resume", 99)
    assert done.returncode == 0, done.stderr
    done = run_killer(fitted, tmp_path / "reference", "anew", 99)
    assert done.returncode == 0, done.stderr
    reference = tmp_path / "reference"
    for name in ("train_loss", "val_loss", "val_accuracy", "learning_rate"):
        np.testing.assert_allclose(history(output, name), history(reference, name), atol=1e-4)
    assert len(history(output)) == 5
    for split, scores in manifest(reference)["metrics"].items():
        for name in ("accuracy", "log_loss"):
            assert manifest(output)["metrics"][split][name] == pytest.approx(scores[name], abs=1e-4)
    leftovers = [path for path in tmp_path.glob(".*") if path.suffix == ".checkpoint"]
    assert leftovers == []


def test_interrupted_epoch_resumes_with_the_same_metrics(fitted, tmp_path, monkeypatch):
    options = {"epochs": 3, "batch_size": 16, "average_weights": 0.9}
    tune(fitted, tmp_path / "reference", **options)
    step, calls = training.Training._step, []

    def dying(self, batch, rate):
        calls.append(rate)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(self, batch, rate)

    with monkeypatch.context() as patched:
        patched.setattr(training.Training, "_step", dying)
        with pytest.raises(KeyboardInterrupt):
            tune(fitted, tmp_path / "run", **options)
    notes = []
    tune(fitted, tmp_path / "run", resume=True, notes=notes, **options)
    assert any("Resumed after epoch 1" in note for note in notes), notes
    for name in ("train_loss", "val_loss", "val_accuracy", "learning_rate"):
        resumed, expected = (history(tmp_path / run, name) for run in ("run", "reference"))
        np.testing.assert_allclose(resumed, expected, atol=1e-4)
    assert not list(tmp_path.glob(".*.checkpoint"))


@pytest.mark.slow
def test_killed_in_the_middle_of_epochs_1_2_and_3_resumes_with_the_same_metrics(fitted, tmp_path):
    check_killed_and_resumed(fitted, tmp_path, [1, 2, 3])


def test_head_of_other_classes_is_refused(fitted, tmp_path):
    shutil.copytree(fitted, tmp_path / "run")
    facts = manifest(tmp_path / "run")
    with np.load(fitted / "head.npz", allow_pickle=False) as file:
        arrays = dict(file)
    arrays["kernel"] = arrays["kernel"][:, ::-1]
    arrays["bias"] = arrays["bias"][::-1]
    np.savez(tmp_path / "run/head.npz", **arrays)
    assert facts["class_names"] == ["blue", "green", "red"]
    with pytest.raises(ParityError, match="head gives other predictions"):
        tune(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_recipe_is_refused(fitted, tmp_path):
    shutil.copytree(fitted, tmp_path / "run")
    facts = manifest(tmp_path / "run")
    facts["recipe"]["offset"] = [0.5, 0.5, 0.5]
    (tmp_path / "run/manifest.json").write_text(json.dumps(facts))
    with pytest.raises(ParityError, match="backbone gives other features"):
        tune(tmp_path / "run", tmp_path / "out")


def test_image_edited_since_extraction_is_refused_by_name(fitted, tmp_path):
    from PIL import Image

    shutil.copytree(fitted.parent / "photos", tmp_path / "photos")
    for path in (tmp_path / "photos").rglob("*.png"):
        Image.eval(Image.open(path), lambda value: 255 - value).save(path)
    outcome = call("finetune", fitted, "--data", tmp_path / "photos", "--output", "out")
    assert outcome.exit_code == 1
    assert "no longer gives the pixels" in outcome.stderr
    assert str(tmp_path / "photos") in outcome.stderr


def test_run_says_what_changed_sides_and_whether_it_is_significant(finetuned):
    facts = manifest(finetuned)
    comparison = facts["comparison"]
    assert comparison["split"] == "val"
    assert comparison["is_optimistic"]
    with (finetuned / "changed-sides.csv").open() as file:
        rows = list(csv.DictReader(file))
    of_val = [row["change"] for row in rows if row["split"] == "val"]
    assert of_val.count("became right") == comparison["became_right"]
    assert of_val.count("became wrong") == comparison["became_wrong"]
    assert facts["next_step"].startswith("Next: ")
    assert facts["seconds"]["train"] > 0
    assert facts["unfreeze_reason"] == "as asked"
