"""What an export writes and says, from the command line: the card, its code, and the check."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import call
from PIL import Image

import frostline
from pipeline.runs.predictions import read_predictions
from pipeline.runs.run_folder import open_run


@pytest.fixture(scope="module")
def export_said(fitted):
    """What `export` prints of a run in ONNX."""
    outcome = call("export", fitted, "--format", "onnx", "--output", fitted.parent / "exported")
    assert outcome.exit_code == 0, outcome.stderr
    return outcome


@pytest.fixture(scope="module")
def exported(export_said, fitted):
    """The folder that it wrote."""
    assert export_said.exit_code == 0
    return fitted.parent / "exported"


def test_it_says_what_it_wrote_and_what_to_do_next(export_said, exported):
    assert export_said.stdout == f"{exported}\n"
    assert "onnx: model.onnx, " in export_said.stderr
    assert "float32. onnxruntime " in export_said.stderr
    assert re.search(
        r"says the same of \d+ images: probabilities differ by up to", export_said.stderr
    )
    assert f"How to use it: {exported}/card.md" in export_said.stderr
    assert f"Whether it says the same elsewhere: python {exported}/check.py" in export_said.stderr


def test_the_references_are_what_the_run_says_and_the_check_agrees(exported, fitted):
    done = subprocess.run(
        [sys.executable, exported / "check.py"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"onnx: model\.onnx in onnxruntime \S+: right\. .*\n", done.stdout)
    expected = json.loads((exported / "reference" / "expected.json").read_text())
    files = [exported / "reference" / image["image"] for image in expected["images"]]
    answers = frostline.load(fitted).predict(files)
    for image, answer in zip(expected["images"], answers, strict=True):
        np.testing.assert_allclose(image["probabilities"], answer.probabilities, atol=1e-5)


def test_the_code_of_the_card_runs_as_it_is_and_says_what_predict_says(
    exported, fitted, monkeypatch, capsys
):
    monkeypatch.chdir(exported)
    photo = next((fitted.parent / "photos" / "red").iterdir())
    Image.open(photo).save(exported / "a.jpg", quality=95)
    blocks = re.findall(r"```python\n(.+?)```", (exported / "card.md").read_text(), re.S)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(block, names)
    label, probability = capsys.readouterr().out.split()
    (answer,) = frostline.load(fitted).predict([exported / "a.jpg"])
    (exported / "a.jpg").unlink()
    assert label == "red"
    assert abs(float(probability) - answer.probabilities.max()) < 1e-4


def test_the_card_counts_the_images_of_each_class_and_tells_the_scores(exported, fitted):
    card = (exported / "card.md").read_text()
    run = open_run(fitted)
    said = read_predictions(run)
    for label, name in enumerate(run.class_names):
        n_train, n_val = (((said.labels == label) & (said.splits == s)).sum() for s in (0, 1))
        assert f"| {name} | {n_train} | {n_val} |" in card
    metrics = run.manifest.metrics["val"]
    low, high = metrics.accuracy_interval
    assert (
        f"| val | {metrics.n_samples} | {metrics.accuracy:.4f} | {low:.4f} to {high:.4f} |" in card
    )
    assert "The answer is always one of its classes" in card
    assert not (exported / "thresholds.json").exists()
    assert str(fitted.parent) not in card
