"""Images that are no longer those that a run was made from."""

import shutil

import numpy as np
import pytest
from conftest import make_photos

from pipeline.errors import DatasetError, ParityError, RunError
from pipeline.runs.images_of_run import hash_images, locate_images, require_same_images
from pipeline.runs.records import write_digests
from pipeline.runs.run_folder import Run


@pytest.fixture
def paths(tmp_path):
    return sorted(make_photos(tmp_path / "photos", n_per_class=3).rglob("*.png"))


@pytest.fixture
def run(tmp_path, paths):
    (tmp_path / "run").mkdir()
    write_digests(tmp_path / "run", hash_images(paths))
    return Run(tmp_path / "run", {})


def test_images_that_were_changed_are_named(run, paths):
    require_same_images(run, paths, hash_images(paths))
    shutil.copy(paths[0], paths[4])
    paths[7].write_bytes(b"no image")
    with pytest.raises(ParityError, match="2 of 9 images were changed") as caught:
        require_same_images(run, paths, hash_images(paths))
    for row, path in enumerate(paths):
        assert (str(path) in str(caught.value)) is (row in {4, 7})


def test_of_many_changed_images_some_are_named(run, paths):
    for path in paths:
        path.write_bytes(b"no image")
    with pytest.raises(ParityError, match="and 4 more"):
        require_same_images(run, paths, hash_images(paths))


def test_a_run_from_before_there_were_digests_is_not_refused(run, paths):
    (run.folder / "digests.npy").unlink()
    require_same_images(run, paths, np.zeros((9, 32), np.uint8))


@pytest.mark.parametrize("contents", [b"", b"no array"])
def test_damaged_digests_are_an_error_that_names_them(run, paths, contents):
    (run.folder / "digests.npy").write_bytes(contents)
    with pytest.raises(RunError, match=r"digests\.npy"):
        require_same_images(run, paths, hash_images(paths))


def test_images_that_are_gone_are_an_error_that_says_how_many(tmp_path, paths):
    paths[1].unlink()
    with pytest.raises(DatasetError, match="1 of 9 images are not where they were"):
        locate_images(tmp_path / "photos", [f"{p.parent.name}/{p.name}" for p in paths])
    with pytest.raises(DatasetError, match=f"cannot be read.*{paths[1].name}"):
        hash_images(paths)
