"""Fine-tuning end to end: what may change, what must not, and what the run says of it."""

import csv
import json
import os
import random
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
from made_runs import fit_on_alike_classes
from PIL import Image

from pipeline.backbones.engines import opening, tensorflow_graph
from pipeline.backbones.engines.device import choose_device
from pipeline.backbones.keras_internals import flatten_layers
from pipeline.errors import DeviceError, FrostlineError, ParityError, RunError
from pipeline.finetuning.epoch_passes import EpochPasses
from pipeline.finetuning.finetune import finetune
from pipeline.finetuning.judge_epochs import Scores
from pipeline.finetuning.network import Network
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.replicas import Replicas
from pipeline.finetuning.training import Training
from pipeline.finetuning.trunk_and_top import TrunkAndTop
from pipeline.runs.run_folder import open_run

ROOT = Path(__file__).resolve().parents[2]
# At 32 pixels the top sees 1 x 1 maps: the default rate is too high for so little.
FROZEN = {
    "unfreeze": "fire9",
    "epochs": 2,
    "trunk_cache": False,
    "augment": "none",
    "learning_rate": 1e-5,
}


def tune(run, output, *, notes=None, **options):
    notes = [] if notes is None else notes
    how = {name: options.pop(name) for name in ("resume", "tensorboard") if name in options}
    settings = FinetuneOptions(**{**FROZEN, **options})
    return finetune(
        open_run(run), settings, choose_device("cpu"), output=output, on_note=notes.append, **how
    )


def history(folder, name="val_loss"):
    with (folder / "history.csv").open() as file:
        return np.array([float(row[name]) for row in csv.DictReader(file)])


def manifest(folder):
    return json.loads((folder / "manifest.json").read_text())


TWO_STEPS = {"batch_size": 16, "average_weights": 0.9}  # two steps an epoch


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A run of a shallow network; that of `finetuned` is deeper."""
    return fit_on_alike_classes(tmp_path_factory.mktemp("small"), 12)


@pytest.fixture(scope="module")
def reference(small, tmp_path_factory):
    """A run of TWO_STEPS without a cache and without a stop."""
    output = tmp_path_factory.mktemp("reference") / "run"
    tune(small, output, **TWO_STEPS)
    return output


def test_as_a_function_it_takes_a_path_prints_nothing_and_leaves_no_trace(small, tmp_path, capsys):
    random.seed(1)
    np.random.seed(1)
    keras.utils.set_random_seed(1)
    expected = random.random(), np.random.random(), keras.random.uniform((3,)).numpy().tolist()
    environment = dict(os.environ)
    random.seed(1)
    np.random.seed(1)
    keras.utils.set_random_seed(1)
    keras.config.set_epsilon(1e-3)
    try:
        result = finetune(
            str(small), device="cpu", output=str(tmp_path / "run"), tensorboard="board", **FROZEN
        )
        assert keras.config.epsilon() == 1e-3
    finally:
        keras.config.set_epsilon(1e-7)
    received = random.random(), np.random.random(), keras.random.uniform((3,)).numpy().tolist()
    assert received == expected
    assert dict(os.environ) == environment
    assert capsys.readouterr() == ("", "")
    assert result.folder == tmp_path / "run"
    assert manifest(result.folder)["parameters"]["epochs"] == FROZEN["epochs"]
    assert list(Path("board").iterdir())


def test_an_option_that_there_is_not_is_named(small):
    with pytest.raises(FrostlineError, match=r"no such option to fine-tune.*Received: epoch"):
        finetune(small, epoch=1)


def test_trunk_cache_gives_the_same_loss_curve(small, reference, tmp_path):
    notes = []
    result = tune(small, tmp_path / "with", trunk_cache=True, notes=notes, **TWO_STEPS)
    assert result.used_trunk_cache
    for name in ("train_loss", "val_loss"):
        expected = history(reference, name)
        assert expected.min() > 0.1
        np.testing.assert_allclose(history(tmp_path / "with", name), expected, atol=5e-3)
    assert any("Trunk cache used: 36 of 36 rows to compute" in note for note in notes)
    (cache,) = (tmp_path / "cache/trunk").glob("*.h5")
    # 32 pixels are 1 x 1 x 512 at fire9, in float16: 36 images.
    assert 36 * 512 * 2 < cache.stat().st_size < 80_000
    model = keras.saving.load_model(tmp_path / "with/model.keras", compile=False)
    assert model.input_shape == (None, 32, 32, 3)


@pytest.mark.slow
def test_strong_augmentation_with_everything_else_switched_on(small, tmp_path):
    notes = []
    tune(
        small,
        tmp_path / "run",
        notes=notes,
        augment="strong",
        flip=True,
        find_learning_rate=True,
        layer_decay=0.7,
        average_weights=0.9,
        class_weight="balanced",
        unfreeze="2",
        batch_size=12,
        epochs=1,
        trunk_cache=None,
        tensorboard=tmp_path / "board",
    )
    facts = manifest(tmp_path / "run")
    assert facts["parameters"]["unfreeze"] == "fire8"
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
    outcome = call("predict", tmp_path / "run", small.parent / "photos/red/003.png")
    assert outcome.exit_code == 0, outcome.stderr


def test_a_batch_in_parts_and_an_epoch_that_diverged_are_mended_said_and_recorded(
    small, tmp_path, monkeypatch
):
    """Divergence takes up the last good weights, with a lower rate."""
    step, divide = Network.step, Replicas.divide
    calls = []

    def divide_a_few(self, *batch):
        if len(batch[0]) > 8:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return divide(self, *batch)

    def poisoned(self, *batch_and_rate):
        calls.append(batch_and_rate)
        # The first was too large, and the two of epoch 1 followed.
        if len(calls) == 4:
            self.weights = [value * float("nan") for value in self.weights]
        return step(self, *batch_and_rate)

    monkeypatch.setattr(Replicas, "divide", divide_a_few)
    monkeypatch.setattr(Network, "step", poisoned)
    notes = []
    result = tune(small, tmp_path / "run", batch_size=16, notes=notes)
    assert result.last_epoch == 2
    assert np.isfinite(history(tmp_path / "run")).all()
    of_parts, of_divergence = result.notes
    assert of_parts.startswith("A batch of 16 images does not fit the device's memory")
    assert "each step computes it in 2 parts" in of_parts
    assert "Epoch 2 diverged (the loss became nan)" in of_divergence
    assert "weights after epoch 1" in of_divergence
    assert "3e-06" in of_divergence
    facts = manifest(tmp_path / "run")
    assert (facts["n_parts"], facts["parameters"]["batch_size"]) == (2, 16)
    for note in result.notes:
        assert note in notes
        assert note in facts["notes"]


@pytest.mark.slow
def test_too_high_a_rate_is_lowered_until_it_stops_and_is_never_worse(small, tmp_path):
    result = tune(small, tmp_path / "run", learning_rate=0.9, epochs=3, batch_size=4)
    frozen, finetuned = result.assessment.frozen["val"], result.assessment.finetuned["val"]
    assert finetuned.accuracy >= frozen.accuracy
    assert finetuned.log_loss <= frozen.log_loss + 1e-6


@pytest.mark.parametrize("stage", ["the end", pytest.param("validation", marks=pytest.mark.slow)])
def test_out_of_memory_says_which_batch_size_to_try(small, tmp_path, monkeypatch, stage):
    call = TrunkAndTop.call

    def exhausted(self, *batch, training=False):
        if training:
            return call(self, *batch, training=training)
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    place = {
        "validation": (TrunkAndTop, "call"),
        "the end": (tensorflow_graph, "_fold_constants"),
    }
    only_tensorflow = {"tensorflow": opening.ENGINES["tensorflow"]}
    monkeypatch.setattr(opening, "ENGINES", only_tensorflow)
    way = (lambda graph: exhausted) if stage == "the end" else exhausted
    monkeypatch.setattr(*place[stage], way)
    # Training has halved its batch twice then.
    size, smaller = (32, 16) if stage == "the end" else (8, 4)
    wanted = f"`batch_size={size}`\nTry `batch_size={smaller}`"
    with pytest.raises(DeviceError, match=wanted):
        tune(small, tmp_path / "run")
    assert not (tmp_path / "run").exists()


SECOND_DEVICE = """
import sys
sys.path.insert(0, sys.argv[1])
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from pipeline.backbones.engines.device import Device
from pipeline.finetuning.finetune import finetune
finetune(sys.argv[2], device=Device("/CPU:1", "CPU, the second half"), output="run", epochs=1,
         unfreeze="fire9", trunk_cache=False, augment="none")
"""


@pytest.mark.slow
def test_on_the_second_of_two_devices_it_runs_to_its_end(small, tmp_path):
    """Where TensorFlow saw two GPUs before one of them was chosen, in a notebook."""
    done = subprocess.run(
        [sys.executable, "-c", SECOND_DEVICE, ROOT, small],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert manifest(tmp_path / "run")["device"] == "CPU, the second half"
    outcome = call("predict", tmp_path / "run", small.parent / "photos/red/003.png")
    assert outcome.exit_code == 0, outcome.stderr


def test_the_head_is_not_overwritten_by_what_is_made_of_it(small):
    outcome = call("finetune", small, "--output", small, "--force")
    assert outcome.exit_code == 1
    assert f"Received: --output {small}" in outcome.stderr
    assert (small / "head.npz").exists()


def test_existing_output_is_refused_before_training_starts(small, monkeypatch):
    monkeypatch.setattr(Training, "run", lambda self: pytest.fail("it trained"))
    with pytest.raises(RunError, match="exists already"):
        tune(small, small)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("learning_rate", 2.0),
        ("layer_decay", 0.0),
        ("views", 0),
        ("average_weights", 1.0),
        ("seed", 5_000_000_000),
    ],
)
def test_values_that_make_no_sense_are_named(small, tmp_path, option, value):
    with pytest.raises(FrostlineError, match=f"`{option}` .*{value}"):
        tune(small, tmp_path / "run", **{option: value})


def test_history_that_cannot_be_drawn_is_an_error_before_training_starts(
    small, tmp_path, monkeypatch
):
    monkeypatch.setattr(Training, "run", lambda self: pytest.fail("it trained"))
    shutil.copytree(small, tmp_path / "run")
    (tmp_path / "run/history.csv").write_text("C,val_loss\nhalf,a\n")
    with pytest.raises(RunError, match=r"history\.csv"):
        tune(tmp_path / "run", tmp_path / "out")
    (tmp_path / "run/history.csv").unlink()
    with pytest.raises(RunError, match=r"history\.csv"):
        tune(tmp_path / "run", tmp_path / "out")


def test_stopping_says_how_to_go_on(small, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.finetuning.finetune.finetune", stop)
    outcome = call("finetune", small)
    assert outcome.exit_code == 130
    assert "Finished epochs are kept: run the same command with --resume" in outcome.stderr


def test_stopping_a_command_that_keeps_nothing_promises_nothing(small, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.classifier.predict.predict", stop)
    outcome = call("predict", small, "a.jpg")
    assert outcome.exit_code == 130
    assert outcome.stderr == "Stopped. Run the same command again to begin anew.\n"


KILLER = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pipeline.finetuning.finetune import finetune
from pipeline.finetuning.network import Network
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.training import Training
run, output, resume, fatal_epoch = sys.argv[2:]
run_epoch, step, epochs, calls = Training.run_epoch, Network.step, [], []
def noting(self, epoch):
    epochs.append(epoch)
    run_epoch(self, epoch)
def dying(self, *batch_and_rate):
    calls.append(batch_and_rate)
    if epochs[-1] == int(fatal_epoch) and len(calls) % 4 == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *batch_and_rate)
Training.run_epoch, Network.step = noting, dying
options = FinetuneOptions(
    unfreeze="fire8", epochs=4, batch_size=8, learning_rate=3e-3, trunk_cache=False,
    average_weights=0.9, layer_decay=0.8,
)
finetune(run, options, "cpu", output=output, resume=resume == "resume")
"""


def run_killer(small, output, resume, fatal_epoch):
    command = [sys.executable, "-c", KILLER, ROOT, small, output, resume, str(fatal_epoch)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)


def check_killed_and_resumed(small, tmp_path, fatal_epochs):
    output = tmp_path / "killed"
    for number, epoch in enumerate(fatal_epochs):
        done = run_killer(small, output, "resume" if number else "anew", epoch)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not output.exists()
    done = run_killer(small, output, "resume", 99)
    assert done.returncode == 0, done.stderr
    done = run_killer(small, tmp_path / "reference", "anew", 99)
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


def test_interrupted_epoch_resumes_with_the_same_metrics(small, reference, tmp_path, monkeypatch):
    step, calls = Network.step, []

    def dying(self, *batch_and_rate):
        calls.append(batch_and_rate)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(self, *batch_and_rate)

    with monkeypatch.context() as patched:
        patched.setattr(Network, "step", dying)
        with pytest.raises(KeyboardInterrupt):
            tune(small, tmp_path / "run", **TWO_STEPS)
    notes = []
    tune(small, tmp_path / "run", resume=True, notes=notes, **TWO_STEPS)
    assert any("Resumed after epoch 1" in note for note in notes), notes
    for name in ("train_loss", "val_loss", "val_accuracy", "learning_rate"):
        resumed, expected = (history(run, name) for run in (tmp_path / "run", reference))
        np.testing.assert_allclose(resumed, expected, atol=1e-4)
    assert not list(tmp_path.glob(".*.checkpoint"))


@pytest.mark.slow
def test_killed_in_the_middle_of_epochs_1_2_and_3_resumes_with_the_same_metrics(small, tmp_path):
    check_killed_and_resumed(small, tmp_path, [1, 2, 3])


def test_head_of_other_classes_is_refused(small, tmp_path):
    shutil.copytree(small, tmp_path / "run")
    facts = manifest(tmp_path / "run")
    with np.load(small / "head.npz", allow_pickle=False) as file:
        arrays = dict(file)
    arrays["kernel"] = arrays["kernel"][:, ::-1]
    arrays["bias"] = arrays["bias"][::-1]
    np.savez(tmp_path / "run/head.npz", **arrays)
    assert facts["class_names"] == ["blue", "green", "red"]
    with pytest.raises(ParityError, match="names of the classes do not belong to this head"):
        tune(tmp_path / "run", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_recipe_is_refused(small, tmp_path):
    shutil.copytree(small, tmp_path / "run")
    facts = manifest(tmp_path / "run")
    facts["recipe"]["offset"] = [0.5, 0.5, 0.5]
    (tmp_path / "run/manifest.json").write_text(json.dumps(facts))
    with pytest.raises(ParityError, match="backbone gives other features"):
        tune(tmp_path / "run", tmp_path / "out")


def test_images_edited_since_extraction_are_refused_by_name(small, tmp_path):
    shutil.copytree(small.parent / "photos", tmp_path / "photos")
    edited = tmp_path / "photos/green/007.png"  # none of the eight probes
    Image.eval(Image.open(edited), lambda value: 255 - value).save(edited)
    outcome = call("finetune", small, "--data", tmp_path / "photos", "--output", "out")
    assert outcome.exit_code == 1
    assert "1 of 36 images were changed" in outcome.stderr
    assert str(edited) in outcome.stderr


def test_images_edited_since_a_run_without_digests_are_refused_by_their_pixels(small, tmp_path):
    shutil.copytree(small, tmp_path / "run")
    (tmp_path / "run/digests.npy").unlink()
    shutil.copytree(small.parent / "photos", tmp_path / "photos")
    for path in (tmp_path / "photos").rglob("*.png"):
        Image.eval(Image.open(path), lambda value: 255 - value).save(path)
    outcome = call("finetune", tmp_path / "run", "--data", tmp_path / "photos", "--output", "out")
    assert outcome.exit_code == 1
    assert "no longer gives the pixels" in outcome.stderr
    assert str(tmp_path / "photos") in outcome.stderr


def probabilities(run):
    with (run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(row[name]) for name in ("blue", "green", "red")] for row in rows])


@pytest.mark.slow
def test_dense_head_that_learns_nothing_stays_as_it_was(small, tmp_path):
    fitting = ("fit-head", small.parent / "features.h5", "--head", "dense", "--hidden", 8)
    outcome = call(*fitting, "--epochs", 10, "--output", tmp_path / "dense")
    assert outcome.exit_code == 0, outcome.stderr
    result = tune(tmp_path / "dense", tmp_path / "run", learning_rate=1e-12, epochs=1)
    assert result.best_epoch == 0
    assert "did not help" in result.assessment.verdict
    np.testing.assert_allclose(
        probabilities(tmp_path / "run"), probabilities(tmp_path / "dense"), atol=1e-5
    )


def test_a_winner_that_is_worse_as_the_model_that_is_kept_gives_way_to_the_frozen_head(
    reference, tmp_path, monkeypatch
):
    """Training is told that its first epoch is perfect; the weights say otherwise. And it goes on
    from a fine-tuned run.
    """

    def spoil(self, epoch, rate):
        for variable in self._network.model.head.trainable_variables:
            variable.assign(-variable)
        return 0.1, 1.0, rate

    monkeypatch.setattr(EpochPasses, "train", spoil)
    monkeypatch.setattr(EpochPasses, "evaluate", lambda self: Scores(1.0, 0.0, 1.0, -1.0))
    notes = []
    result = tune(reference, tmp_path / "run", epochs=1, notes=notes)
    assert result.best_epoch == 0
    assert any("Epoch 1 won while training" in note for note in notes)
    facts = manifest(tmp_path / "run")
    assert facts["chosen"] == "epoch 0 of 1"
    assert facts["parent"] == str(reference)
    assert any("the head as it was" in note for note in facts["notes"])
    np.testing.assert_allclose(probabilities(tmp_path / "run"), probabilities(reference), atol=1e-5)


@pytest.mark.slow
def test_half_precision_features_are_fine_tuned_and_saved_in_float32(small, tmp_path):
    """And what was killed before its first checkpoint begins from the start."""
    shutil.copytree(small, tmp_path / "run")
    facts = manifest(tmp_path / "run")
    facts["recipe"]["precision"] = "mixed_float16"
    (tmp_path / "run/manifest.json").write_text(json.dumps(facts))
    notes = []
    tune(tmp_path / "run", tmp_path / "out", epochs=1, resume=True, notes=notes)
    assert any("begins from the start" in note for note in notes)
    model = keras.saving.load_model(tmp_path / "out/model.keras", compile=False)
    assert {layer.compute_dtype for layer in flatten_layers(model)} == {"float32"}


def test_rate_sweep_tensorboard_and_class_weights_through_the_command_line(small, tmp_path):
    (tmp_path / "weights.csv").write_text("blue,1\ngreen,2\nred,1\n")
    outcome = call(
        *("finetune", small, "--unfreeze", "fire9", "--epochs", 1, "--augment", "none"),
        *("--find-learning-rate", "--tensorboard", "board", "--class-weight", "weights.csv"),
        *("--no-trunk-cache", "--output", "run", "--json"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    sweep = np.array(manifest(tmp_path / "run")["learning_rate_sweep"])
    assert np.all(np.diff(sweep[:, 0]) > 0)
    assert Image.open("run/plots/learning-rate.png").format == "PNG"
    assert "sweep" in " ".join(json.loads(outcome.stdout)["notes"])
    events = [
        (event.step, value.tag)
        for file in Path("board").iterdir()
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]
    assert sorted(step for step, tag in events if tag == "val_loss") == [0, 1]
    assert not Path("run/plots/augmentation.png").exists()


def test_sixteen_augmented_images_are_pictured(finetuned):
    """Four rows of four, in the colours of the photos: blue, green and red, not grey."""
    with Image.open(finetuned / "plots/augmentation.png") as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    height, width, _ = pixels.shape
    is_drawn = (pixels < 250).any(axis=2)
    for row in range(4):
        for column in range(4):
            y = int((row + 0.5) * height / 4 * 0.94 + 0.06 * height)
            x = int((column + 0.5) * width / 4)
            assert is_drawn[y - 20 : y + 20, x - 20 : x + 20].mean() > 0.9
    for channel in range(3):
        others = np.delete(pixels, channel, axis=2).max(axis=2)
        assert (pixels[:, :, channel] > others + 40).mean() > 0.05


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
    *stages, total = facts["seconds"].values()
    assert sum(stages) == pytest.approx(total, rel=0.01)
    assert facts["unfreeze_reason"] == "as asked"
