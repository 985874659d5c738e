"""People's folders through the command line."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import call, make_photos, save_image
from PIL import Image

from pipeline.features.feature_file import FeatureFile

ROOT = Path(__file__).resolve().parents[2]
LITE0 = ("--backbone", "efficientnet-lite0", "--image-size", 32)
RANDOM = (*LITE0, "--weights", "random")
STRAY = os.fsdecode(b"stray \xff\x1b[31m.png")
ODD_NAMES = ["a b.png", 'it\'s "x".png', "two\nlines.png", "caf\u00e9 \u82b1.png", STRAY]


def succeed(*arguments):
    outcome = call(*arguments)
    assert outcome.exit_code == 0, outcome.stderr
    return outcome


@pytest.mark.usefixtures("stand_in_backbone")
def test_flat_folder_is_extracted_and_predicted_but_no_head_is_fitted(fitted, tmp_path):
    for number in range(3):
        save_image(tmp_path / "flat" / f"{number}.png", number)
    outcome = succeed("extract", "flat", *RANDOM, "--output", "f.h5")
    assert "3 of 3 images have no label." in outcome.stderr
    assert json.loads(call("features", "f.h5", "--json").stdout)["n_samples"] == 3
    refused = call("fit-head", "f.h5")
    assert refused.exit_code == 1
    assert "have no labels. Expected a folder per class" in refused.stderr
    (tmp_path / "flat" / "notes.txt").write_text("hello")
    outcome = succeed("predict", fitted, "flat", "--format", "json")
    assert "Passed over 1 .txt file, which is not an image." in outcome.stderr
    predicted = json.loads(outcome.stdout)
    assert [entry["path"] for entry in predicted] == [f"flat/{n}.png" for n in range(3)]
    assert "have no labels" in call("evaluate", fitted, "flat").stderr


@pytest.fixture
def odd(tmp_path):
    """Two classes with odd names, in which images have odd names and one of each is broken."""
    for number, name in enumerate(["two\nwords 'x'", "\u82b1"]):
        for i, file in enumerate(ODD_NAMES):
            save_image(tmp_path / "x.png", 10 * number + i).rename(
                _made(tmp_path / "odd" / name / file)
            )
        _made(tmp_path / "odd" / name / f"bad {STRAY}").write_bytes(b"no image")
    return tmp_path / "odd"


def _made(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.usefixtures("stand_in_backbone")
def test_odd_names_go_through_all_stages_unchanged(odd, tmp_path):
    outcome = succeed("extract", odd, *RANDOM, "--output", "f.h5", "--skipped-csv")
    assert "10 computed, 2 skipped" in outcome.stderr
    assert "\x1b" not in outcome.stderr
    expected = {f"{folder.name}/{name}" for folder in odd.iterdir() for name in ODD_NAMES}
    with FeatureFile(tmp_path / "f.h5") as file:
        assert set(file.contents.images.paths) == expected
    with (tmp_path / "f.skipped.csv").open(errors="surrogateescape", newline="") as file:
        skipped = list(csv.DictReader(file))
    assert {row["path"] for row in skipped} == {f"{d.name}/bad {STRAY}" for d in odd.iterdir()}
    assert all(row["reason"] == "not an image (starts with 'no i')" for row in skipped)
    succeed("fit-head", "f.h5", "--output", "run", "--C", "1")
    with (tmp_path / "run/predictions.csv").open(errors="surrogateescape", newline="") as file:
        assert {row["path"] for row in csv.DictReader(file)} == expected
    assert json.loads((tmp_path / "run/classes.json").read_text()) == ["two\nwords 'x'", "\u82b1"]
    assert "\x1b" not in succeed("features", "f.h5").stdout


@pytest.mark.usefixtures("stand_in_backbone")
def test_no_name_sends_codes_to_the_terminal(tmp_path):
    root = make_photos(tmp_path / "odd \x1b[31m", n_per_class=2)
    save_image(root / "Red" / "1.png", 1)
    (root / "empty \x1b[2J\nclass").mkdir()
    (root / "red" / "notes.\x1b[5mpdf").write_text("hello")
    outcome = succeed("extract", root, *RANDOM, "--output", "f.h5")
    assert "Left out empty \\x1b[2J\\nclass/: no images in it.\n" in outcome.stderr
    assert "'Red' and 'red' are two classes" in outcome.stderr
    (root / "Red" / "1.png").unlink()
    for wrong in (call("extract", root / "Red"), call("extract", tmp_path / "gone\x1b[1m")):
        assert wrong.exit_code == 1
        assert "\\x1b[" in wrong.stderr
        assert "\nCheck the path" in wrong.stderr
        assert "\x1b" not in wrong.stderr
    assert "\x1b" not in outcome.stderr


def test_odd_names_leave_predict_as_they_came(tmp_path):
    """In a process of its own: what matters is the bytes on a real stdout."""
    script = """
import os, sys, numpy as np
from pathlib import Path
from pipeline.classifier.prediction import Prediction
from pipeline.commands.terminal.terminal import Terminal
form, *names = sys.argv[1:]
no_digest = np.zeros(32, np.uint8)
good = [
    Prediction(Path(name), np.array([.4, .6]), "blue", None, no_digest)
    for name in names
]
bad = Prediction(Path("bad " + names[-1]), None, None, "no image", no_digest)
Terminal().show_predictions([*good, bad], ["red\\n", "blue"], 2, form)
"""

    def show(form):
        return subprocess.run(
            [sys.executable, "-c", script, form, *ODD_NAMES],
            capture_output=True,
            check=True,
            env={**os.environ, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(ROOT)},
        ).stdout

    expected = [*ODD_NAMES, f"bad {STRAY}"]
    rows = csv.DictReader(os.fsdecode(show("csv")).splitlines(keepends=True))
    assert [row["path"] for row in rows] == expected
    assert [entry["path"] for entry in json.loads(show("json"))] == expected
    assert b"\x1b" not in show("table")


@pytest.mark.usefixtures("stand_in_backbone")
def test_pixels_options_make_recipes_of_their_own(tmp_path):
    make_photos(tmp_path / "photos", n_per_class=1)
    Image.new("RGBA", (60, 20), (255, 0, 0, 100)).save(tmp_path / "photos/red/wide.png")
    files = {}
    for options in (
        (),
        ("--resize", "crop"),
        ("--resize", "pad"),
        ("--resize", "pad", "--background", "#102030"),
        ("--truncated", "keep"),
    ):
        files[options] = succeed("extract", "photos", *RANDOM, *options, "--quiet").stdout.strip()
    assert len(set(files.values())) == 5
    wide = {}
    for options, path in files.items():
        with FeatureFile(Path(path)) as file:
            wide[options] = file.read_all()[file.contents.images.paths.index("red/wide.png")]
            background = file.contents.recipe.background
        assert background == ((16, 32, 48) if "#102030" in options else (255, 255, 255))
    plain, crop, pad, dark, keep = wide.values()
    np.testing.assert_array_equal(plain, keep)
    for other in (pad, dark):
        assert np.abs(plain - other).max() > 1e-3 * np.abs(plain).max()
    assert np.abs(pad - dark).max() > 1e-3 * np.abs(pad).max()
    np.testing.assert_allclose(plain, crop, atol=1e-6)  # one colour: no crop can be told


def test_wrong_words_and_colours_are_wrong_usage(photos):
    for wrong in (
        ("--background", "whitish"),
        ("--background", "#11223344"),
        ("--resize", "squash"),
        ("--truncated", "maybe"),
        ("--on-error", "cry"),
        ("--max-pixels", "0"),
        ("--class-depth", "0"),
    ):
        outcome = call("extract", photos, *RANDOM, *wrong)
        assert outcome.exit_code == 2, wrong
        assert wrong[1] in outcome.stderr


@pytest.mark.usefixtures("stand_in_backbone")
def test_on_error_fail_names_the_first_and_leaves_no_feature_file(photos, tmp_path):
    (photos / "red" / "bad.png").write_bytes(b"no image")
    outcome = call("extract", photos, *RANDOM, "--on-error", "fail", "--output", "f.h5")
    assert outcome.exit_code == 1
    assert "red/bad.png: not an image" in outcome.stderr
    assert not (tmp_path / "f.h5").exists()


@pytest.mark.usefixtures("stand_in_backbone")
def test_limits_and_isolation_are_options(photos, tmp_path):
    save_image(photos / "red" / "large.png", 1, size=100)
    outcome = succeed("extract", photos, *RANDOM, "--max-pixels", 9_999, "--output", "f.h5")
    assert "too large: 100 x 100 pixels is more than the limit of 9,999" in outcome.stderr
    outcome = succeed(
        "extract", photos, *RANDOM, "--max-pixels", 10_000, "--isolate", "--output", "f.h5"
    )
    assert "24 kept, 1 computed" in outcome.stderr
    outcome = succeed("extract", photos, *RANDOM, "--max-bytes", 100, "--output", "f.h5")
    assert "up to date" in outcome.stderr  # what has its row is not looked at again
    with (photos / "red" / "huge.jpg").open("wb") as file:
        file.truncate(20 * 2**30)
    outcome = succeed("extract", photos, *RANDOM, "--output", "f.h5")
    assert "25 kept, 1 skipped" in outcome.stderr
    assert "too large: 21,474,836,480 bytes is more than the limit of 536,870,912" in outcome.stderr


TURNED = {  # how a camera that was held so stores the upright picture (EXIF 2.3, 4.6.4 A)
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def test_a_picture_has_the_same_features_however_the_camera_was_held(tmp_path):
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    families = set()
    for size in ((240, 160), (160, 240)):
        upright = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
        for name, options in (("JPEG", {"quality": 95, "subsampling": 0}), ("PNG", {}),
                              ("WEBP", {"quality": 95}), ("TIFF", {})):  # fmt: skip
            families.add(f"{name}-{size[0]}/")
            for orientation, turn in TURNED.items():
                exif = Image.Exif()
                exif[0x0112] = orientation
                stored = upright if turn is None else upright.transpose(turn)
                path = tmp_path / "turned" / f"{name}-{size[0]}" / f"{orientation}.{name.lower()}"
                stored.save(_made(path), name, exif=exif, **options)
    save_image(tmp_path / "turned/other/1.png", 1, size=64)
    succeed("extract", "turned", *LITE0[:2], "--image-size", 96, "--output", "f.h5")
    with FeatureFile(tmp_path / "f.h5") as file:
        features, paths = file.read_all(), file.contents.images.paths
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    assert np.delete(unit, other := paths.index("other/1.png"), 0).dot(unit[other]).max() < 0.9
    for family in families:
        rows = [row for row, path in enumerate(paths) if path.startswith(family)]
        assert len(rows) == 8
        assert (unit[rows] @ unit[rows].T).min() >= 0.99
