"""What fit-head says of the images it divides: equal ones, wrong ones, groups."""

import json
import os
import shutil

import h5py
import numpy as np
import pytest
from conftest import call, make_photos, save_image

from benchmarks.stand_in import extract
from pipeline.features.feature_file import FeatureFile
from pipeline.features.options import SplitOptions
from pipeline.features.split_notes import describe_equal_images
from pipeline.features.split_rows import divide_images
from pipeline.heads.fit_head import fit_head
from pipeline.runs.predictions import read_predictions
from pipeline.runs.run_folder import open_run
from pipeline.system.sealed_hdf5 import write_sealed


def fit(features, tmp_path, **options):
    run = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
    fit_head(features, C=1.0, **options, output=run)
    return run


def manifest(run):
    return json.loads((run / "manifest.json").read_text())


@pytest.fixture
def messy(tmp_path):
    """Photos with equal images: in one class, in two classes, and in two given splits."""
    for split, n in (("train", 8), ("test", 4)):
        make_photos(tmp_path / "photos" / split, n_per_class=n)
    photos = tmp_path / "photos"
    for number, path in enumerate(sorted((photos / "test").rglob("*.png"))):
        save_image(path, 5000 + number)
    shutil.copy(photos / "train/red/000.png", photos / "train/red/twin.png")
    shutil.copy(photos / "train/red/001.png", photos / "train/blue/wrong.png")
    shutil.copy(photos / "train/red/002.png", photos / "test/red/leak.png")
    extract(photos, tmp_path / "f.h5")
    return tmp_path / "f.h5"


def test_equal_images_are_reported_with_their_paths(messy, tmp_path):
    facts = manifest(fit(messy, tmp_path))
    assert facts["equal_images"] == {
        "all": [
            ["test/red/leak.png", "train/red/002.png"],
            ["train/blue/wrong.png", "train/red/001.png"],
            ["train/red/000.png", "train/red/twin.png"],
        ],
        "different_labels": [["train/blue/wrong.png", "train/red/001.png"]],
        "different_given_splits": [["test/red/leak.png", "train/red/002.png"]],
    }
    across, labels, equal = facts["notes"][:3]
    assert across.startswith("1 image lies in more than one of the splits")
    assert "test/red/leak.png = train/red/002.png" in across
    assert "train/blue/wrong.png = train/red/001.png" in labels
    assert equal.startswith("1 image is there more than once")


def test_run_with_equal_images_of_odd_names_can_be_opened_again(tmp_path):
    photos = make_photos(tmp_path / "photos")
    twin = os.fsdecode(b"red/tw\xff\n\x1b.png")
    shutil.copy(photos / "red/000.png", photos / twin)
    extract(photos, tmp_path / "f.h5")
    run = fit(tmp_path / "f.h5", tmp_path)
    assert json.loads((run / "manifest.json").read_text("utf-8"))  # for other programs
    opened = open_run(run)
    assert opened.manifest.features.equal_images["all"] == [["red/000.png", twin]]
    assert opened.manifest.notes[0].endswith("\n  red/000.png = red/tw\\udcff\\n\\x1b.png")
    assert twin in read_predictions(opened).paths


def test_command_says_it_and_shows_the_splits(messy, tmp_path):
    outcome = call("fit-head", messy, "--C", "1", "--output", tmp_path / "run")
    assert outcome.exit_code == 0, outcome.stderr
    assert "test/red/leak.png = train/red/002.png" in outcome.stderr
    header = next(line for line in outcome.stderr.splitlines() if "class " in line)
    assert header.split() == ["class", "train", "val", "test", "images"]
    rows = {line.split()[0]: line.split() for line in outcome.stderr.splitlines() if "█" in line}
    lines = (tmp_path / "run/predictions.csv").read_text().splitlines()[1:]
    for name, row in rows.items():
        for column, split in enumerate(("train", "val", "test"), start=1):
            expected = sum(f",{split},{name}," in line for line in lines)
            assert int(row[column]) == expected
    assert set(rows) == {"blue", "green", "red"}


def test_groups_share_a_split_and_are_counted(tmp_path):
    photos = tmp_path / "photos"
    for number in range(60):
        name = f"{'cats' if number % 2 else 'dogs'}/patient{number // 4:02d}-{number}.png"
        save_image(photos / name, number)
    save_image(photos / "cats/alone.png", 99)
    extract(photos, tmp_path / "f.h5")
    for seed in range(2):
        facts = manifest(run := fit(tmp_path / "f.h5", tmp_path, group_by=r"patient\d+", seed=seed))
        assert facts["splits"]["n_groups"] == 15
        assert facts["notes"][0] == (
            "60 images are in 15 groups; 1 match nothing and stand for themselves."
        )
        split_of = {}
        for line in (run / "predictions.csv").read_text().splitlines()[1:]:
            path, split = line.split(",")[:2]
            split_of.setdefault(path.split("/")[1].split("-")[0], set()).add(split)
        assert all(len(splits) == 1 for splits in split_of.values())
        assert set.union(*split_of.values()) == {"train", "val"}


def test_groups_across_given_splits_are_reported(tmp_path):
    for split in ("train", "val"):
        for number in range(8):
            name = f"{split}/{'cats' if number % 2 else 'dogs'}/p{number}-{split}.png"
            save_image(tmp_path / "photos" / name, number + 100 * len(split))
    extract(tmp_path / "photos", tmp_path / "f.h5")
    notes = manifest(fit(tmp_path / "f.h5", tmp_path, group_by=r"p\d"))["notes"]
    assert notes[1].startswith("8 groups lie in more than one of the splits")
    assert "train/dogs/p0-train.png = val/dogs/p0-val.png" in notes[1]


def test_added_images_move_no_old_one_through_extract_and_fit_head(tmp_path):
    photos = make_photos(tmp_path / "photos", n_per_class=20)

    def divide(seed):
        with FeatureFile(tmp_path / "f.h5") as file:
            splits = divide_images(file.contents, SplitOptions(val_fraction=0.05, seed=seed)).splits
            return dict(zip(file.contents.images.paths, splits.tolist(), strict=True))

    extract(photos, tmp_path / "f.h5")
    before = [divide(seed) for seed in range(50)]
    for number in range(6):
        name = ("blue", "green", "red")[number % 3]
        save_image(photos / name / f"new{number}.png", 7000 + number)
    extract(photos, tmp_path / "f.h5")
    with FeatureFile(tmp_path / "f.h5") as file:
        is_new = ["new" in path for path in file.contents.images.paths]
        assert file.contents.arrivals.tolist() == [int(new) for new in is_new]
    for seed, splits in enumerate(before):
        after = divide(seed)
        assert len(after) == 66
        assert {path: after[path] for path in splits} == splits


def test_file_of_the_first_days_without_arrivals_is_read(tmp_path):
    extract(make_photos(tmp_path / "photos"), tmp_path / "new.h5")

    def copy(target, output):
        del output
        with h5py.File(tmp_path / "new.h5") as source:
            for name in source:
                if name != "arrival":
                    source.copy(name, target)
            for name, value in source.attrs.items():
                if name != "tables_sha256":
                    target.attrs[name] = value

    write_sealed(tmp_path / "old.h5", copy)
    with FeatureFile(tmp_path / "old.h5") as file:
        np.testing.assert_array_equal(file.contents.arrivals, np.zeros(24))


def test_a_pair_with_two_labels_is_named_once():
    pair, twins = ["a/1.png", "b/1.png"], ["a/2.png", "a/3.png"]
    sets = {"all": [pair, twins], "different_labels": [pair], "different_given_splits": []}
    labels, equal = describe_equal_images(sets)
    assert labels.startswith("1 image has more than one label")
    assert equal.startswith("1 image is there more than once")
    assert "a/1.png" not in equal
