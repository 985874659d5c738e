"""What `evaluate --output` leaves: all of it, in agreement with itself, or nothing."""

import csv
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from conftest import call
from PIL import Image

from pipeline.errors import ParameterError, RunError
from pipeline.runs.plots import confusion_matrix

FILES = [
    "evaluation.json",
    "plots/confusion-matrix.png",
    "plots/confusion-matrix.svg",
    "predictions.csv",
    "predictions.npz",
    "report.html",
]


def list_files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_scores_predictions_and_pictures_are_written_and_agree(fitted, tmp_path):
    photos = fitted.parent / "photos"
    outcome = call("evaluate", fitted, photos, "--output", "found", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert list_files(tmp_path / "found") == FILES
    assert "found" in outcome.stderr
    facts = json.loads((tmp_path / "found/evaluation.json").read_text())
    printed = json.loads(outcome.stdout)
    assert printed.items() <= facts.items()
    assert facts["run"] == str(fitted)
    with (tmp_path / "found/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 36
    assert sum(row["label"] == row["predicted"] for row in rows) / 36 == facts["accuracy"]
    names = facts["class_names"]
    counts = [[sum(r["label"] == a and r["predicted"] == b for r in rows) for b in names]
              for a in names]  # fmt: skip
    assert counts == facts["confusion_matrix"]
    probabilities = np.load(tmp_path / "found/predictions.npz")["probabilities"]
    said = [[float(row[name]) for name in names] for row in rows]
    np.testing.assert_allclose(probabilities, said, rtol=1e-6, atol=1e-8)
    with Image.open(tmp_path / "found/plots/confusion-matrix.png") as image:
        assert image.format == "PNG"
    title = ElementTree.parse(tmp_path / "found/plots/confusion-matrix.svg").find("{*}title")
    assert title is not None
    assert title.text == "logreg on photos"
    page = (tmp_path / "found/report.html").read_text()
    assert f"It is right for {round(36 * facts['accuracy'])} of 36 images of photos" in page
    data = json.loads(page.split('<script id="data" type="application/json">')[1].split("</")[0])
    assert data["runs"][0]["matrix"] == counts
    assert data["runs"][0]["n_mistakes"] == sum(r["label"] != r["predicted"] for r in rows)
    assert len(data["images"]["path"]) == 36


def test_an_older_evaluation_is_replaced_only_with_force_and_nothing_else_ever(fitted, tmp_path):
    photos = fitted.parent / "photos"
    how = ("evaluate", fitted, photos, "--output", "found")
    assert call(*how).exit_code == 0
    before = (tmp_path / "found/evaluation.json").stat().st_ino
    refused = call(*how)
    assert refused.exit_code == 1
    assert "This output exists already" in refused.stderr
    assert "--force" in refused.stderr
    assert (tmp_path / "found/evaluation.json").stat().st_ino == before
    assert call(*how, "--force").exit_code == 0
    assert (tmp_path / "found/evaluation.json").stat().st_ino != before
    (tmp_path / "found/plots/mine.txt").write_text("notes")
    refused = call(*how, "--force")
    assert refused.exit_code == 1
    assert "holds something else" in refused.stderr
    assert "plots/mine.txt" in refused.stderr
    assert (tmp_path / "found/plots/mine.txt").read_text() == "notes"
    refused = call("evaluate", fitted, photos, "--output", fitted, "--force")
    assert refused.exit_code == 1
    assert (fitted / "manifest.json").is_file()


def test_what_fails_at_the_end_leaves_the_older_one_whole(fitted, tmp_path, monkeypatch):
    from frostline import evaluate

    photos = fitted.parent / "photos"
    evaluate(fitted, photos, output="found")
    before = (tmp_path / "found/evaluation.json").read_bytes()

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(confusion_matrix, "plot_confusion_matrix", fail)
    outcome = call("evaluate", fitted, photos, "--output", "found", "--force")
    assert outcome.exit_code == 1
    assert "Cannot write found: the disk is full." in outcome.stderr
    assert call("evaluate", fitted, photos, "--output", "other").exit_code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["found"]
    assert (tmp_path / "found/evaluation.json").read_bytes() == before
    assert list_files(tmp_path / "found") == FILES


def test_an_output_among_the_images_is_refused_and_so_is_force_for_nothing(fitted):
    from frostline import evaluate

    photos = fitted.parent / "photos"
    with pytest.raises(ParameterError, match="lies in the data set"):
        evaluate(fitted, photos, output=photos / "found")
    with pytest.raises(ParameterError, match="nothing to overwrite"):
        evaluate(fitted, photos, force=True)
    (Path("file")).write_text("x")
    with pytest.raises(RunError, match="This output is a file"):
        evaluate(fitted, photos, output="file")
    outcome = call("evaluate", fitted, photos, "--force")
    assert outcome.exit_code == 2
    assert "--force with --output" in outcome.stderr
