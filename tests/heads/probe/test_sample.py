"""The images that a probe looks at: none that will be tested on, all classes in their shares."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import make_photos, save_image
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.stand_in import extract
from pipeline.errors import SplitError
from pipeline.features.feature_file import FeatureFile
from pipeline.features.near_duplicate_list import write_list
from pipeline.features.options import SplitOptions
from pipeline.features.split_rows import divide_images
from pipeline.heads.probe import sample as module
from pipeline.heads.probe.sample import draw_sample
from pipeline.images.dataset import Dataset, scan_dataset
from pipeline.images.splits import TEST


def draw(root, n_most=1000, lists=Path("cache"), **how):
    notes = []
    dataset = scan_dataset(root)
    sample = draw_sample(dataset, n_most, SplitOptions(**how), lists, lambda *_: None, notes.append)
    return sample, [dataset.paths[row] for row in sample.rows], notes


def test_images_that_fit_head_will_test_on_are_not_looked_at(tmp_path):
    make_photos(tmp_path / "photos", n_per_class=20)
    extract(tmp_path / "photos", tmp_path / "f.h5")
    how = {"test_fraction": 0.25, "seed": 3}
    with FeatureFile(tmp_path / "f.h5") as file:
        contents = file.contents
    division = divide_images(contents, SplitOptions(**how))
    tested = {p for p, s in zip(contents.images.paths, division.splits, strict=True) if s == TEST}
    _, paths, _ = draw(tmp_path / "photos", **how)
    assert len(tested) == 15
    assert set(paths) == set(contents.images.paths) - tested


def test_splits_that_the_source_gives_are_kept_out(tmp_path):
    for split, n in (("train", 6), ("val", 3), ("test", 3)):
        make_photos(tmp_path / "photos" / split, n_per_class=n)
    shutil.rmtree(tmp_path / "photos/test/red")
    for number in range(18):  # equal files would be one image
        save_image(tmp_path / f"photos/train/red/{number:03d}.png", seed=5000 + number)
    _, paths, _ = draw(tmp_path / "photos")
    assert {path.split("/")[0] for path in paths} == {"train"}


def test_an_image_that_is_there_twice_counts_once_and_what_belongs_together_is_one(tmp_path):
    root = make_photos(tmp_path / "photos", n_per_class=10)
    shutil.copy(root / "red/000.png", root / "red/copy.png")
    sample, paths, _ = draw(root, group_by="/00([0-3])")
    assert len(paths) == 30 and len(np.unique(sample.digests, axis=0)) == 30
    grouped = [path for path in paths if re.search("/00[0-3]", path)]
    units = dict(zip(paths, sample.units, strict=True))
    assert len({units[path] for path in grouped}) == 4
    assert units["red/002.png"] == units["blue/002.png"] != units["blue/003.png"]
    near = [paths.index("red/004.png"), paths.index("red/007.png")]
    (tmp_path / "cache").mkdir()
    write_list(tmp_path / "cache/photos-x-0.h5", sample.digests, [near])
    together, paths, _ = draw(root)
    units = dict(zip(paths, together.units, strict=True))
    assert units["red/004.png"] == units["red/007.png"]
    assert len(set(units.values())) == 29


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(5, 300), min_size=2, max_size=6), st.integers(60, 500), st.integers(0, 9)
)
def test_the_first_images_have_the_classes_in_their_shares(counts, n_most, seed):
    labels = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    paths = [f"{label}/{number}" for number, label in enumerate(labels)]
    nothing = np.zeros(len(labels), np.int64)
    names = [str(label) for label in range(len(counts))]
    here = Path("here")
    data = Dataset("d", here, here, paths, labels, nothing.astype(np.int8), nothing, nothing, names)
    order = module._order(data, np.arange(len(labels)), n_most, seed, print)
    assert len(set(order.tolist())) == len(order) <= n_most
    quotas = np.bincount(labels[order], minlength=len(counts))
    assert quotas.min() >= 4
    for n in (len(order) // 3, len(order) // 2, len(order)):
        first = np.bincount(labels[order[:n]], minlength=len(counts))
        assert np.abs(first - n * quotas / len(order)).max() <= len(counts)


def test_of_many_classes_some_stand_for_all(tmp_path):
    names = tuple(f"c{number:02d}" for number in range(30))
    root = make_photos(tmp_path / "photos", n_per_class=3, classes=names)
    sample, paths, notes = draw(root, n_most=80)
    assert "16 of 30 classes, drawn at random, stand for all." in notes
    assert len(paths) == 48
    assert sample.class_names == sorted({path.split("/")[0] for path in paths})


def test_one_class_is_nothing_to_tell_apart(tmp_path):
    root = make_photos(tmp_path / "photos", n_per_class=4, classes=("red",))
    save_image(root / "blue/1.png", seed=1)
    with pytest.raises(SplitError, match="Received: 1 of 2 classes"):
        draw(root)
