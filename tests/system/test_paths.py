"""Folders that an ordinary user may not search: no traceback, and the reason is said."""

import json

import pytest
from conftest import call, run_as_nobody
from manifests import make_manifest

from benchmarks.synthetic_features import write_synthetic_features
from pipeline.errors import DatasetError
from pipeline.runs.images_of_run import locate_images
from pipeline.system.paths import denial, is_file, is_folder


@pytest.fixture
def folder(tmp_path):
    """A folder with `closed/`, which only root may search, and runs, one of them so."""
    for name in ("closed/run", "runs/good", "runs/hidden"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "manifest.json").write_text(json.dumps(make_manifest()))
    write_synthetic_features(tmp_path / "f.h5", 24, 4, n_classes=2)
    for name in ("closed", "runs/hidden"):
        (tmp_path / name).chmod(0o700)
    return tmp_path


def test_what_may_not_be_seen_is_told_from_what_is_not_there(folder):
    places = [folder / "closed" / "run", folder / "nothing", folder / "a\0b"]
    found = run_as_nobody(lambda: [(is_folder(p), is_file(p), denial(p)) for p in places], folder)
    assert found == [(False, False, " (permission denied)"), (False, False, ""), (False, False, "")]


@pytest.mark.parametrize(
    "arguments",
    [
        ("features", "closed/f.h5"),
        ("fit-head", "closed/f.h5"),
        ("fit-head", "f.h5", "--output", "closed/new"),
        ("runs", "closed/run"),
        ("predict", "closed/run", "photo.jpg"),
        ("finetune", "closed/run"),
        ("fetch", "digits", "--output", "closed/digits"),
        ("extract", ".", "--backbone", "efficientnet-lite0", "--weights", "closed/w.h5"),
    ],
    ids=" ".join,
)
def test_a_path_into_it_is_one_error_that_says_why(folder, arguments):
    call(*arguments)  # as root, so that nothing is left to import
    outcome = run_as_nobody(lambda: call(*arguments), folder)
    assert outcome.exit_code == 1
    assert outcome.stderr.count("Error: ") == 1
    assert "permission denied" in outcome.stderr.lower()


def test_a_run_that_may_not_be_seen_is_named_in_the_list(folder):
    call("runs")
    outcome = run_as_nobody(lambda: call("runs"), folder)
    assert outcome.exit_code == 0
    assert "runs/good" in outcome.stdout
    assert "runs/hidden (permission denied)" in outcome.stderr


def test_images_that_may_not_be_seen_are_missing(folder):
    images = folder / "closed"

    def locate():
        try:
            locate_images(images, ["a.png"])
        except DatasetError as error:
            return str(error)

    assert f"{images / 'a.png'} (permission denied)" in run_as_nobody(locate, folder)
