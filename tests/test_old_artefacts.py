"""What version 0.1.0 wrote still opens and says the same: a feature file and three kinds of runs.

`reference/README.md` says how they were made.
"""

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from conftest import call, make_photos

from pipeline.features.feature_file import FeatureFile
from pipeline.heads.linear import load_linear_head

ARCHIVE = Path(__file__).parent / "reference" / "made_by_0.1.0.tar.xz"


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    """The old files, with the images that they were made from in photos/."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    make_photos(folder / "photos", n_per_class=6)
    return folder


def _parse(text: str) -> tuple[list[str], list[str], np.ndarray]:
    """Names of files, classes and probabilities of `predict --format csv`."""
    rows = list(csv.DictReader(io.StringIO(text)))
    names = ["/".join(Path(row["path"]).parts[-2:]) for row in rows]
    return names, [r["class_1"] for r in rows], np.array([float(r["probability_1"]) for r in rows])


@pytest.mark.parametrize("name", ["logreg", "dense", "finetuned"])
def test_an_old_run_predicts_what_it_predicted(old, name):
    weights = ("--weights", old / "squeezenet.weights.h5") if name != "finetuned" else ()
    outcome = call("predict", old / name, old / "photos", "--format", "csv", *weights)
    assert outcome.exit_code == 0, outcome.stderr
    paths, classes, probabilities = _parse(outcome.stdout)
    expected = _parse((old / f"{name}.csv").read_text())
    assert paths == expected[0]
    assert classes == expected[1]
    np.testing.assert_allclose(probabilities, expected[2], atol=1e-4)


def test_old_runs_are_listed_with_their_scores(old):
    outcome = call("runs", old, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    entries = {Path(entry["run"]).name: entry for entry in json.loads(outcome.stdout)}
    assert entries.keys() == {"logreg", "dense", "finetuned"}
    assert entries["logreg"]["accuracy"] == 1.0
    assert entries["finetuned"]["n_samples"] == 8
    assert entries["finetuned"]["kind"] == "finetuned"


def test_an_old_feature_file_is_up_to_date_and_gives_the_old_head(old, tmp_path):
    outcome = call(
        *("extract", old / "photos", "--backbone", "squeezenet1_1", "--image-size", 48),
        *("--weights", old / "squeezenet.weights.h5", "--output", old / "features.h5", "--moved"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert "18 kept" in outcome.stderr
    assert "computed" not in outcome.stderr
    new = tmp_path / "logreg"
    outcome = call("fit-head", old / "features.h5", "--val-fraction", 0.34, "--output", new)
    assert outcome.exit_code == 0, outcome.stderr
    with FeatureFile(old / "features.h5") as file:
        rows = file.read_all()
    before, after = (load_linear_head(run / "head.npz") for run in (old / "logreg", new))
    expected = before.predict_proba(rows)
    assert expected.std() > 0.1
    np.testing.assert_allclose(after.predict_proba(rows), expected, atol=1e-3)


def test_an_old_run_can_be_finetuned(old, tmp_path):
    outcome = call(
        *("finetune", old / "dense", "--data", old / "photos", "--epochs", 1),
        *("--unfreeze", "fire9", "--weights", old / "squeezenet.weights.h5"),
        *("--output", tmp_path / "tuned"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert "fire9" in outcome.stdout


def test_an_old_run_is_scored_and_knows_the_images_that_trained_it(old):
    outcome = call("evaluate", old / "finetuned", old / "photos", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    scores = json.loads(outcome.stdout)
    assert scores["n_samples"] == 18
    assert scores["n_trained_on"] == 10
