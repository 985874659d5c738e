"""The main job through the command line, on tiny photos and efficientnet-lite0's real weights."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from conftest import call, save_image
from PIL import Image

from pipeline.features.feature_file import FeatureFile

ROOT = Path(__file__).resolve().parents[2]


def manifest(run):
    return json.loads((run / "manifest.json").read_text())


def test_extract_writes_one_row_per_image_and_prints_the_file(extracted):
    with FeatureFile(extracted / "features.h5") as file:
        assert file.read_all().shape == (36, 1280)
        assert file.contents.class_names == ["blue", "green", "red"]
        assert file.contents.weights_source == "imagenet"
    outcome = call(
        *("extract", extracted / "photos", "--backbone", "efficientnet-lite0"),
        *("--image-size", 32, "--output", extracted / "features.h5"),
    )
    assert outcome.stdout == f"{extracted / 'features.h5'}\n"
    assert "36 kept" in outcome.stderr
    assert "up to date" in outcome.stderr


@pytest.mark.usefixtures("stand_in_backbone")
def test_default_name_tells_recipes_apart(photos, tmp_path):
    for size in (32, 40):
        outcome = call(
            *("extract", photos, "--backbone", "efficientnet-lite0", "--weights", "random"),
            *("--image-size", size, "--limit", 3),
        )
        assert outcome.exit_code == 0, outcome.stderr
    names = [path.name for path in sorted((tmp_path / "cache").glob("*.h5"))]
    assert len(names) == 2
    assert all(name.startswith("photos-limit3-efficientnet-lite0-") for name in names)


def test_fit_head_writes_a_whole_run(fitted):
    files = {path.relative_to(fitted).as_posix() for path in fitted.rglob("*") if path.is_file()}
    assert files >= {
        *("manifest.json", "classes.json", "predictions.csv", "history.csv", "probes.npz"),
        *("head.npz", "head.joblib", "plots/learning-curve.png", "plots/confusion-matrix.png"),
    }
    facts = manifest(fitted)
    assert facts["kind"] == "logreg"
    assert facts["metrics"]["val"]["accuracy"] == 1.0
    assert facts["chosen_by"] == "val"
    assert json.loads((fitted / "classes.json").read_text()) == ["blue", "green", "red"]
    for plot in (fitted / "plots").glob("*.png"):
        assert Image.open(plot).size[0] > 500


def test_predictions_and_metrics_agree_with_scikit_learn_on_the_features(extracted, fitted):
    with (fitted / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with FeatureFile(extracted / "features.h5") as file:
        features, paths = file.read_all(), file.contents.images.paths
    expected = joblib.load(fitted / "head.joblib").predict_proba(features)
    actual = np.array([[float(row[c]) for c in ("blue", "green", "red")] for row in rows])
    np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert [row["path"] for row in rows] == paths
    assert {row["split"] for row in rows} == {"train", "val"}
    val = [row for row in rows if row["split"] == "val"]
    accuracy = np.mean([row["label"] == row["predicted"] for row in val])
    assert manifest(fitted)["metrics"]["val"]["accuracy"] == accuracy


def test_dense_head_records_the_state_before_the_first_step(extracted, tmp_path):
    outcome = call(
        *("fit-head", extracted / "features.h5", "--head", "dense", "--hidden", 16),
        *("--epochs", 5, "--test-fraction", 0.2, "--output", tmp_path / "dense"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    with (tmp_path / "dense/history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert history[0]["epoch"] == "0"
    assert float(history[0]["val_loss"]) == pytest.approx(np.log(3), abs=0.05)
    assert set(manifest(tmp_path / "dense")["metrics"]) == {"train", "val", "test"}
    outcome = call("predict", tmp_path / "dense", extracted / "photos/red", "--format", "csv")
    assert outcome.exit_code == 0, outcome.stderr
    assert len(outcome.stdout.splitlines()) == 13


def test_runs_without_a_name_are_numbered(extracted, tmp_path):
    for _ in range(2):
        assert call("fit-head", extracted / "features.h5", "--C", "0.1").exit_code == 0
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == [f"photos-efficientnet-lite0-logreg-{n}" for n in (1, 2)]
    outcome = call("runs", "--json")
    assert [entry["accuracy"] for entry in json.loads(outcome.stdout)] == [1.0, 1.0]


def test_finetuning_is_never_worse_and_saves_a_model_that_predicts_the_same(finetuned, tmp_path):
    facts = manifest(finetuned)
    before, after = (facts[name]["val"] for name in ("metrics_frozen", "metrics"))
    assert after["accuracy"] >= before["accuracy"]
    assert after["log_loss"] <= before["log_loss"] + 1e-6
    assert facts["parity"] <= 1e-3
    script = """
import sys, csv, json, numpy as np, keras
from PIL import Image
run, photos = sys.argv[1:]
model = keras.saving.load_model(run + "/model.keras", compile=False)
rows = list(csv.DictReader(open(run + "/predictions.csv", newline="")))[::5]
images = [Image.open(photos + "/" + row["path"]).resize((32, 32), 2) for row in rows]
actual = model.predict(np.stack([np.asarray(i, "float32") for i in images]), verbose=0)
expected = np.array([[float(row[c]) for c in ("blue", "green", "red")] for row in rows])
print(np.abs(actual - expected).max())
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(finetuned), str(finetuned.parent / "photos")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) <= 1e-5


def test_evaluate_scores_a_labelled_folder(fitted):
    outcome = call("evaluate", fitted, fitted.parent / "photos", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    scores = json.loads(outcome.stdout)
    assert (scores["n_samples"], scores["accuracy"]) == (36, 1.0)


def test_evaluate_says_how_many_images_trained_the_run_and_scores_the_others(fitted, tmp_path):
    """Half are train images under other names; of the others, some are in a wrong folder."""
    with (fitted / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    trained = [row["path"] for row in rows if row["split"] == "train"][::3]
    others = [row["path"] for row in rows if row["split"] == "val"]
    for number, path in enumerate(trained + others):
        name = "blue" if path in others[-2:] else path.split("/")[0]
        (tmp_path / "mixed" / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(fitted.parent / "photos" / path, tmp_path / "mixed" / name / f"{number}.png")
    right = sum(path.startswith("blue/") or path not in others[-2:] for path in others)
    outcome = call("evaluate", fitted, tmp_path / "mixed", "--json")
    scores = json.loads(outcome.stdout)
    assert scores["n_samples"] == len(trained) + len(others)
    assert scores["n_trained_on"] == len(trained)
    assert scores["without_trained_on"]["n_samples"] == len(others)
    assert scores["without_trained_on"]["accuracy"] == pytest.approx(right / len(others))
    assert (
        f"{len(trained)} of these {len(trained) + len(others)} images trained this run; without "
        f"them: accuracy {right / len(others):.4f} ({len(others)} images)."
    ) in outcome.stderr
    assert f"{len(others)} of these {len(trained) + len(others)} images chose something" in (
        outcome.stderr
    )
    table = call("evaluate", fitted, tmp_path / "mixed").stdout
    assert f"not trained on {len(others)} {right / len(others):.4f}" in " ".join(table.split())
    assert " class (not trained on)" in table
    assert f"{len(others) - right} of {len(trained) + len(others)} images are wrong:" in table
    assert "blue, taken for " in table


def test_evaluate_on_train_images_alone_says_so_and_on_new_ones_says_nothing(fitted, tmp_path):
    with (fitted / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for split in ("train", "val"):
        for path in (row["path"] for row in rows if row["split"] == split):
            (tmp_path / split / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(fitted.parent / "photos" / path, tmp_path / split / path)
    outcome = call("evaluate", fitted, tmp_path / "train", "--json")
    assert "of these images trained this run, so the scores say nothing" in outcome.stderr
    assert json.loads(outcome.stdout)["without_trained_on"] is None
    outcome = call("evaluate", fitted, tmp_path / "val", "--json")
    assert "trained this run" not in outcome.stderr
    assert json.loads(outcome.stdout)["n_trained_on"] == 0


def test_run_that_does_not_say_its_images_is_evaluated_without_a_hint(fitted, tmp_path):
    shutil.copytree(fitted, tmp_path / "run")
    (tmp_path / "run" / "digests.npy").unlink()
    outcome = call("evaluate", tmp_path / "run", fitted.parent / "photos", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert "trained this run" not in outcome.stderr
    assert json.loads(outcome.stdout)["n_trained_on"] is None


def test_predict_gives_the_recorded_probabilities_and_names_what_it_skips(finetuned, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"nothing")
    image = finetuned.parent / "photos/red/003.png"
    outcome = call(
        "predict", finetuned, image, tmp_path / "bad.jpg", "--top", 3, "--format", "json"
    )
    assert outcome.exit_code == 0, outcome.stderr
    good, bad = json.loads(outcome.stdout)
    assert bad["path"] == str(tmp_path / "bad.jpg")
    assert bad["skipped"]
    with (finetuned / "predictions.csv").open(newline="") as file:
        row = next(row for row in csv.DictReader(file) if row["path"] == "red/003.png")
    for entry in good["classes"]:
        assert entry["probability"] == pytest.approx(float(row[entry["name"]]), abs=1e-5)
    table = call("predict", finetuned, image)
    assert "red" in table.stdout


def test_features_shows_what_is_in_a_file_and_checks_it(extracted):
    outcome = call("features", extracted / "features.h5", "--verify", "--json")
    facts = json.loads(outcome.stdout)
    assert (facts["n_samples"], facts["n_features"]) == (36, 1280)
    assert facts["classes"] == {"blue": 12, "green": 12, "red": 12}
    assert "Every byte" in outcome.stderr


def test_backbones_lists_and_shows_frost_lines():
    listed = json.loads(call("backbones", "--json").stdout)
    assert {"efficientnetb0", "efficientnet-lite0"} <= {entry["name"] for entry in listed}
    lines = json.loads(call("backbones", "efficientnet-lite0", "--json").stdout)
    shares = [line["share_below"] for line in lines]
    assert shares == sorted(shares, reverse=True)
    assert "block7a" in [line["name"] for line in lines]


def test_logistic_fit_head_never_imports_tensorflow_or_keras(extracted, tmp_path):
    script = (
        "import sys; sys.argv = ['cli.py', *sys.argv[1:]]\n"
        "from cli import main\n"
        "main(standalone_mode=False)\n"
        "print(sorted(m for m in ('tensorflow', 'keras') if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "fit-head", extracted / "features.h5", "--quiet"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_extract_with_nothing_to_do_never_imports_tensorflow(extracted):
    script = (
        "import sys; sys.argv = ['cli.py', *sys.argv[1:]]\n"
        "from cli import main\n"
        "main(standalone_mode=False)\n"
        "print(sorted(m for m in ('tensorflow', 'keras') if m in sys.modules))"
    )
    arguments = [
        *("extract", extracted / "photos", "--backbone", "efficientnet-lite0"),
        *("--image-size", "32", "--output", extracted / "features.h5"),
    ]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_others_set_up_for_keras_changes_nothing(extracted, tmp_path):
    """A backend that is not installed, and formats in which no ImageNet weights are."""
    (tmp_path / "keras.json").write_text(
        '{"backend": "jax", "floatx": "float16", "image_data_format": "channels_first"}'
    )
    script = (
        "import sys\n"
        "from cli import main\n"
        "data, features, output = sys.argv[1:]\n"
        "lite0 = ('--backbone', 'efficientnet-lite0', '--image-size', '32')\n"
        "main(['extract', data, *lite0, '--output', features], standalone_mode=False)\n"
        "how = ('--head', 'dense', '--epochs', '2', '--output', output)\n"
        "main(['fit-head', features, *how], standalone_mode=False)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, extracted / "photos", tmp_path / "a.h5", tmp_path / "run"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "torch"},
    )
    assert done.returncode == 0, done.stderr
    with FeatureFile(tmp_path / "a.h5") as mine, FeatureFile(extracted / "features.h5") as theirs:
        np.testing.assert_array_equal(mine.read_all(), theirs.read_all())
    outcome = call(
        *("fit-head", extracted / "features.h5", "--head", "dense", "--epochs", 2),
        *("--output", tmp_path / "usual"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    mine, theirs = ((tmp_path / name / "predictions.csv").read_text() for name in ("run", "usual"))
    assert mine == theirs


def test_predict_says_of_bytes_on_stdin_what_it_says_of_their_file(fitted):
    image = fitted.parent / "photos/red/003.png"
    folder, data = image.parents[1] / "blue", image.read_bytes()
    outcome = call("predict", fitted, folder, "-", image, "--top", 3, "--json", stdin=data)
    assert outcome.exit_code == 0, outcome.stderr
    *_, piped, read = json.loads(outcome.stdout)
    assert (piped["path"], read["path"]) == ("-", str(image))
    assert piped["classes"] == read["classes"]


def test_predict_takes_images_as_large_as_it_is_told(fitted, tmp_path):
    save_image(tmp_path / "large.png", 1, size=40)
    command = ("predict", fitted, tmp_path / "large.png", "--format", "json")
    assert "too large" in call(*command, "--max-pixels", 100).stdout
    assert "too large" not in call(*command, "--max-pixels", 1600).stdout
