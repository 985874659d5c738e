"""Users' mistakes through the command line: one message, exit code 1, nothing half-written."""

import json
import shutil

import click
import h5py
import pytest
from conftest import call, make_photos, save_image

from cli import main
from pipeline.commands.options import Value
from pipeline.errors import RunError
from pipeline.runs.predictions import read_predictions
from pipeline.runs.run_folder import open_run

LITE0 = ("--backbone", "efficientnet-lite0", "--image-size", 32)


def check_error(outcome, *words):
    assert outcome.exit_code == 1, outcome.stdout
    assert outcome.stderr.count("Error: ") == 1
    assert "Traceback" not in outcome.stderr
    for word in words:
        assert word in outcome.stderr


def leftovers(folder):
    names = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return [path for path in names if "photos" not in path.parts]


def test_extract_from_no_such_folder(tmp_path):
    check_error(call("extract", tmp_path / "nowhere"), "no such folder", "nowhere")


def test_extract_from_an_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    check_error(call("extract", tmp_path / "empty"), "it is empty")


def test_extract_from_a_folder_without_images(tmp_path):
    (tmp_path / "texts" / "a").mkdir(parents=True)
    (tmp_path / "texts" / "a" / "x.txt").write_text("x")
    check_error(call("extract", tmp_path / "texts"), "No images", ".txt")


def test_extract_with_weights_that_do_not_fit(photos, tmp_path):
    with h5py.File(tmp_path / "other.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = [[1.0]]
    outcome = call("extract", photos, *LITE0, "--weights", tmp_path / "other.weights.h5")
    check_error(outcome, "does not fit", "efficientnet-lite0")
    assert leftovers(tmp_path) == [tmp_path / "other.weights.h5"]


def test_extract_with_weights_that_cannot_be_downloaded(photos, tmp_path, monkeypatch):
    import keras

    def no_network(*args, origin, **kwargs):
        raise Exception(f"URL fetch failure on {origin}: None -- timed out")

    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(keras.utils, "get_file", no_network)
    check_error(
        call("extract", photos),
        str(tmp_path / "keras/models/efficientnetb0_notop.h5"),
        "--weights FILE",
        "--backbone efficientnet-lite0",
    )
    assert leftovers(tmp_path) == []


def test_extract_on_a_gpu_that_is_not_there(photos, tmp_path):
    outcome = call("extract", photos, *LITE0, "--device", "gpu:7")
    check_error(outcome, "--device gpu:7", "GPU(s)")
    assert leftovers(tmp_path) == []


def test_extract_to_a_folder_says_that_a_file_name_is_expected(photos, tmp_path):
    (tmp_path / "folder").mkdir()
    outcome = call("extract", photos, *LITE0, "--weights", "random", "--output", "folder")
    check_error(outcome, "is a folder", "Expected the name of a file", "folder/features.h5")


def test_extract_says_the_batch_sizes_that_it_takes():
    from pipeline.backbones.engines.device import CPU_BATCH_SIZE, GPU_BATCH_SIZE

    text = " ".join(call("extract", "--help").stdout.split())
    assert f"[default: {CPU_BATCH_SIZE} on a CPU, {GPU_BATCH_SIZE} on a GPU; x>=1]" in text


def test_fit_head_on_a_file_that_is_no_feature_file(tmp_path):
    (tmp_path / "x.h5").write_text("hello")
    check_error(call("fit-head", tmp_path / "x.h5"), "not a feature file")
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("stand_in_backbone")
def test_fit_head_with_one_class_only(tmp_path):
    make_photos(tmp_path / "one", classes=("red",))
    call("extract", tmp_path / "one", *LITE0, "--weights", "random", "--output", "one.h5")
    check_error(call("fit-head", "one.h5"), "only one class", "'red'")
    assert not (tmp_path / "runs").exists()


@pytest.mark.usefixtures("stand_in_backbone")
def test_fit_head_with_a_class_too_small_to_be_split(photos, tmp_path):
    save_image(photos / "lonely" / "1.png", 1)
    call("extract", photos, *LITE0, "--weights", "random", "--output", "few.h5")
    check_error(call("fit-head", "few.h5"), "'lonely' is too small")
    assert not (tmp_path / "runs").exists()


def test_run_without_a_head(fitted, tmp_path):
    shutil.copytree(fitted, tmp_path / "run")
    (tmp_path / "run/head.npz").unlink()
    for arguments in (("finetune",), ("predict", fitted.parent / "photos"), ("evaluate", tmp_path)):
        name, *rest = arguments
        check_error(call(name, tmp_path / "run", *rest), "no head")
    check_error(call("finetune", tmp_path), "not a run")


def test_data_set_that_moved_since_extraction(fitted, tmp_path, monkeypatch):
    """With --data training begins; test_old_artefacts.py takes it to its end."""

    def stop(self):
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.finetuning.training.Training.run", stop)
    shutil.copytree(fitted, tmp_path / "run")
    manifest = json.loads((tmp_path / "run/manifest.json").read_text())
    manifest["data_root"] = str(tmp_path / "gone")
    (tmp_path / "run/manifest.json").write_text(json.dumps(manifest))
    check_error(call("finetune", tmp_path / "run"), "--data", "gone")
    outcome = call(
        *("finetune", tmp_path / "run", "--data", fitted.parent / "photos"),
        *("--unfreeze", "block7a", "--epochs", 1, "--no-trunk-cache", "--augment", "none"),
        *("--output", tmp_path / "tuned"),
    )
    assert outcome.exit_code == 130, outcome.stderr


def test_unknown_frost_line_and_backbone_name_the_known_ones(fitted, photos):
    check_error(call("finetune", fitted, "--unfreeze", "block99"), "block99", "block7a")
    outcome = call("extract", photos, "--backbone", "efficientnetb00")
    check_error(outcome, "efficientnetb0")
    assert "24 images" not in outcome.stderr  # the data set is not looked at for that


def test_a_pattern_that_is_none_is_wrong_usage_and_names_its_option(extracted):
    outcome = call("fit-head", extracted / "features.h5", "--group-by", "(")
    assert outcome.exit_code == 2
    assert "no regular expression" in outcome.stderr
    assert "Received: --group-by '('" in outcome.stderr


def test_existing_output_is_kept_without_force(fitted):
    before = (fitted / "manifest.json").read_bytes()
    outcome = call("fit-head", fitted.parent / "features.h5", "--output", fitted)
    check_error(outcome, "exists already", "--force")
    assert (fitted / "manifest.json").read_bytes() == before


@pytest.mark.usefixtures("stand_in_backbone")
def test_text_and_hidden_files_are_passed_over_and_unreadable_images_listed(photos, tmp_path):
    (photos / "red/notes.txt").write_text("x")
    (photos / "red/.hidden.jpg").write_bytes(b"x")
    (photos / "red/broken.jpg").write_bytes(b"\xff\xd8\xff broken")
    outcome = call("extract", photos, *LITE0, "--weights", "random", "--output", "a.h5")
    assert outcome.exit_code == 0, outcome.stderr
    assert "red/broken.jpg" in outcome.stderr
    assert "1 .txt file," in outcome.stderr
    facts = json.loads(call("features", "a.h5", "--json").stdout)
    assert facts["n_samples"] == 24
    assert list(facts["skipped"]) == ["red/broken.jpg"]


def test_wrong_usage_leaves_with_2():
    assert call("extract").exit_code == 2
    assert call("fit-head", "x.h5", "--head", "forest").exit_code == 2
    assert call("extract", "photos", "--background", "reddish").exit_code == 2
    outcome = call("finetune", "runs/x", "--budget", "ten")
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("Usage: python cli.py finetune")
    assert "Received: --budget ten" in outcome.stderr


@pytest.mark.parametrize(
    "command",
    ["extract a", "finetune a", "evaluate a b", "features a --recompute 1"],
)
def test_a_device_of_no_kind_is_wrong_usage_in_every_command(command):
    outcome = call(*command.split(), "--device", "tpu")
    assert outcome.exit_code == 2
    assert "Expected auto, cpu, gpu or gpu:N. Received: --device tpu" in outcome.stderr


@pytest.mark.parametrize("command", sorted(main.commands))
def test_a_number_that_an_option_can_never_have_is_wrong_usage_in_every_command(command):
    arguments = {"evaluate": ("a", "b"), "predict": ("a", "b"), "runs": (), "backbones": ()}
    for option in main.commands[command].get_params(click.Context(main.commands[command])):
        is_typed = isinstance(option, click.Option) and isinstance(option.type, Value)
        if is_typed and option.type.entry.type is not str:
            outcome = call(command, *arguments.get(command, ("a",)), option.opts[0], -1)
            assert outcome.exit_code == 2, outcome.stderr
            assert f"Invalid value for '{option.opts[0]}': expected" in outcome.stderr
            assert "received '-1'" in outcome.stderr


@pytest.mark.parametrize("name", ["manifest.json", "predictions.csv", "probes.npz", "head.npz"])
def test_damaged_run_is_an_error_without_traceback(fitted, tmp_path, name):
    shutil.copytree(fitted, tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(b"damaged")
    check_error(call("finetune", tmp_path / "run", "--unfreeze", "block7a"))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda lines: [*lines[:-1], lines[-1][:-12]], "row 36 has 6 fields instead of 7"),
        (lambda lines: lines[:1], "it has no rows"),
        (lambda lines: lines[1:], "its first line is not path,split,label,predicted"),
        (lambda lines: [*lines, "a.png,dev,red,red,0,0,1"], "row 37 has no such split or label"),
        (lambda lines: [*lines, "a.png,val,red,red,0,0,x"], "could not convert string to float"),
    ],
)
def test_damaged_predictions_are_described_in_words(fitted, tmp_path, damage, why):
    shutil.copytree(fitted, tmp_path / "run")
    (tmp_path / "run" / "predictions.npz").unlink()  # as in 0.1.0
    path = tmp_path / "run" / "predictions.csv"
    path.write_text("\n".join(damage(path.read_text().splitlines())))
    with pytest.raises(RunError, match=why) as caught:
        read_predictions(open_run(tmp_path / "run"))
    assert "Error(" not in str(caught.value)
