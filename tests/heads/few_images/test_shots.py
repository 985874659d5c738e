"""How accuracy grows with the images of each class."""

import csv
import json

import numpy as np
import pytest
from conftest import call, make_photos
from PIL import Image

from benchmarks.stand_in import extract
from pipeline.features.feature_file import FeatureFile
from pipeline.heads.few_images.shots import fit_shots
from pipeline.heads.fit import fit


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shots")
    make_photos(folder / "photos", n_per_class=16)
    extract(folder / "photos", folder / "f.h5")
    return folder


def test_command_writes_a_curve_a_row_for_each_draw_and_no_run(made, tmp_path):
    words = ("--shots", "4,1,2", "--seeds", 3, "--output", tmp_path / "out")
    outcome = call("fit-head", made / "f.h5", *words)
    assert outcome.exit_code == 0, outcome.stderr
    assert "C = 0.01, since few images cannot choose it: --C sets another." in outcome.stderr
    assert "3 draws each, scored on 9 images (val split)." in outcome.stdout
    with (tmp_path / "out/shots.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["images_per_class"], row["images"], row["seed"]) for row in rows] == [
        (str(n), str(3 * n), str(seed)) for n in (1, 2, 4) for seed in range(3)
    ]
    values = json.loads((tmp_path / "out/shots.json").read_text())
    for shot in values["shots"]:
        mine = [
            float(r["accuracy"]) for r in rows if int(r["images_per_class"]) == shot["n_per_class"]
        ]
        assert shot["mean"] == pytest.approx(np.mean(mine))
        assert shot["deviation"] == pytest.approx(np.std(mine, ddof=1))
    assert Image.open(tmp_path / "out/shots.png").size[0] > 500
    assert call("runs").stdout == ""


def test_all_images_make_the_head_that_fit_makes(made, tmp_path):
    found = fit_shots(made / "f.h5", [100], seeds=1, C=0.5, output=tmp_path / "out")
    with FeatureFile(made / "f.h5") as file:
        contents, features = file.contents, file.read_all()
    from pipeline.features.options import SplitOptions
    from pipeline.features.split_rows import divide_images

    splits = divide_images(contents, SplitOptions()).splits
    fitted = fit(features, contents.labels, split=splits, C=0.5)
    assert found.shots[0].accuracies == [fitted.metrics["val"].accuracy]
    assert found.shots[0].n_images == int((splits == 0).sum())


def test_a_draw_of_more_images_holds_the_draw_of_fewer_and_is_repeated(made, tmp_path):
    one = fit_shots(made / "f.h5", [1, 4], seeds=2, output=tmp_path / "a")
    other = fit_shots(made / "f.h5", [4], seeds=2, output=tmp_path / "b")
    assert one.shots[1] == other.shots[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--shots", "1,x"), "whole numbers of images a class"),
        (("--shots", "0"), "whole numbers of images a class"),
        (("--shots", "1", "--promise", "0.9"), "--shots without --promise"),
        (("--shots", "1", "--folds", "3"), "--shots without --folds"),
        (("--shots", "1", "--seeds", "0"), "--seeds"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(made, tmp_path, words, said):
    outcome = call("fit-head", made / "f.h5", *words, "--output", tmp_path / "out")
    assert outcome.exit_code == 2
    assert said in " ".join(outcome.stderr.split())
    assert not (tmp_path / "out").exists()
