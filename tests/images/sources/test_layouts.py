"""Folders as people download them: Tiny ImageNet, CUB, names that tell the class."""

import inspect
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from conftest import call, make_photos, save_image
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import DatasetError, ParameterError
from pipeline.images.dataset import scan_dataset
from pipeline.images.sources.findings import Findings, FoundImage, FoundImages
from pipeline.images.sources.path_labels import USUAL_PATTERN, label_by_pattern

RANDOM = ("--backbone", "efficientnet-lite0", "--image-size", 32, "--weights", "random")


def rows(dataset):
    """path -> (class, split)"""
    return {
        path: (dataset.class_names[label] if label >= 0 else None, split)
        for path, label, split in zip(
            dataset.paths, dataset.labels.tolist(), dataset.splits.tolist(), strict=True
        )
    }


def make_tiny_imagenet(root):
    for number, wnid in enumerate(("n01", "n02")):
        for i in range(2):
            save_image(root / "train" / wnid / "images" / f"{wnid}_{i}.png", 10 * number + i)
        (root / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.png\t0\t0\t9\t9\n")
        save_image(root / "val" / "images" / f"val_{number}.png", 50 + number)
        save_image(root / "test" / "images" / f"test_{number}.png", 70 + number)
    lines = ["val_0.png\tn02\t0\t0\t9\t9", "val_1.png\tn01\t0\t0\t9\t9"]
    (root / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (root / "wnids.txt").write_text("n01\nn02\n")


def test_tiny_imagenet_is_known(tmp_path):
    make_tiny_imagenet(tmp_path / "tiny")
    save_image(tmp_path / "tiny/val/images/unlisted.png", 99)
    dataset = scan_dataset(tmp_path / "tiny")
    assert rows(dataset) == {
        "train/n01/images/n01_0.png": ("n01", 0),
        "train/n01/images/n01_1.png": ("n01", 0),
        "train/n02/images/n02_0.png": ("n02", 0),
        "train/n02/images/n02_1.png": ("n02", 0),
        "val/images/val_0.png": ("n02", 1),
        "val/images/val_1.png": ("n01", 1),
    }
    assert "Left out test/: no class folders in it." in dataset.notes
    assert "The classes of val/ are those of val_annotations.txt." in dataset.notes
    unlisted = "Passed over 1 image without a line in the list of classes beside them."
    assert unlisted in dataset.notes


@pytest.mark.parametrize("text", ["val_0.png n02\n", "", "../x.png\tn01\n", "val_0.png\tn99\n"])
def test_a_list_that_is_not_as_it_should_be_labels_nothing(tmp_path, text):
    make_tiny_imagenet(tmp_path / "tiny")
    (tmp_path / "tiny/val/val_annotations.txt").write_text(text)
    dataset = scan_dataset(tmp_path / "tiny")
    assert dataset.class_names == ["n01", "n02"]
    assert set(dataset.splits.tolist()) == {0}
    assert "Left out val/: no class folders in it." in dataset.notes


def test_a_class_called_images_is_a_class_beside_others(tmp_path):
    make_photos(tmp_path / "train", n_per_class=1, classes=("images", "sounds"))
    make_photos(tmp_path / "val", n_per_class=1, classes=("images",))
    assert rows(scan_dataset(tmp_path)) == {
        "train/images/000.png": ("images", 0),
        "train/sounds/000.png": ("sounds", 0),
        "val/images/000.png": ("images", 1),
    }


def make_cub(root):
    make_photos(root / "images", n_per_class=2, classes=("001.Albatross", "002.Auklet"))
    (root / "parts").mkdir()
    (root / "parts" / "parts.txt").write_text("1 back\n")
    paths = sorted(path.relative_to(root / "images").as_posix() for path in root.rglob("*.png"))
    numbered = list(enumerate(paths, start=1))
    (root / "images.txt").write_text("".join(f"{n} {path}\n" for n, path in numbered))
    (root / "train_test_split.txt").write_text("".join(f"{n} {n % 2}\n" for n, _ in numbered))


def test_cub_is_known_with_its_classes_and_its_own_splits(tmp_path):
    make_cub(tmp_path / "CUB_200_2011")
    dataset = scan_dataset(tmp_path / "CUB_200_2011")
    assert rows(dataset) == {
        "images/001.Albatross/000.png": ("001.Albatross", 0),
        "images/001.Albatross/001.png": ("001.Albatross", 2),
        "images/002.Auklet/000.png": ("002.Auklet", 0),
        "images/002.Auklet/001.png": ("002.Auklet", 2),
    }
    assert "All images lie in images/, so that is no class." in dataset.notes
    assert "Left out parts/: no images in it." in dataset.notes
    splits = (
        "Splits are those of train_test_split.txt: 2 images for train, 2 for test, 0 in no split."
    )
    assert splits in dataset.notes
    (tmp_path / "CUB_200_2011" / "train_test_split.txt").write_text("1 yes\n")
    assert set(scan_dataset(tmp_path / "CUB_200_2011").splits.tolist()) == {-1}


def test_splits_in_the_one_folder_of_images_are_splits(tmp_path):
    for split in ("train", "val"):
        make_photos(tmp_path / "data" / "images" / split, n_per_class=1, classes=("a", "b"))
        (tmp_path / "data" / "labels" / split).mkdir(parents=True)
    assert set(rows(scan_dataset(tmp_path / "data")).values()) == {
        ("a", 0), ("b", 0), ("a", 1), ("b", 1),
    }  # fmt: skip


def test_split_folders_with_nothing_but_images_hold_no_class_called_images(tmp_path):
    for split in ("train", "val"):
        save_image(tmp_path / split / "images" / "1.png", 1)
        save_image(tmp_path / split / "loose.png", 2)
        (tmp_path / split / "labels").mkdir()
    dataset = scan_dataset(tmp_path)
    assert rows(dataset) == {"train/images/1.png": (None, 0), "val/images/1.png": (None, 1)}
    assert "Passed over 1 image outside train/images/." in dataset.notes


def test_a_folder_of_one_class_says_what_else_it_may_be(tmp_path):
    make_photos(tmp_path / "pets" / "cats", n_per_class=1, classes=("persian", "siamese"))
    dataset = scan_dataset(tmp_path / "pets")
    assert dataset.class_names == ["cats"]
    assert dataset.notes[-1] == (
        "There is only one class, 'cats'. The folders in it are persian, siamese: if these are "
        "the classes, say `class_depth=2`."
    )


def test_a_list_beside_images_without_classes_is_offered(tmp_path):
    save_image(tmp_path / "images" / "7f.png", 1)
    (tmp_path / "labels.csv").write_text("id,breed\n7f,pug\n")
    note = scan_dataset(tmp_path).notes[-2]
    assert note.endswith(f"If {tmp_path / 'labels.csv'} lists their classes, name that instead.")


@pytest.fixture
def dogs_and_cats(tmp_path):
    """train/cat.0.png, train/dog.0.png, ..., as Kaggle has them, and some in val."""
    seeds = iter(range(99))
    for split, n_images in (("train", 6), ("val", 4)):
        for number in range(n_images):
            for name in ("cat", "dog"):
                save_image(tmp_path / "pets" / split / f"{name}.{number}.png", next(seeds))
    return tmp_path / "pets"


@pytest.mark.usefixtures("stand_in_backbone")
def test_names_that_tell_the_class_are_offered_with_a_pattern_that_works(dogs_and_cats):
    outcome = call("extract", dogs_and_cats, *RANDOM, "--output", "f.h5")
    assert "20 of 20 images have no label." in outcome.stderr
    assert "look as if they told the class (cat, dog): " in outcome.stderr
    (pattern,) = re.findall(r"--label-from '?(\(.*\$)'? takes", outcome.stderr)
    outcome = call("extract", dogs_and_cats, *RANDOM, "--output", "f.h5", "--label-from", pattern)
    assert outcome.exit_code == 0, outcome.stderr
    assert "20 images, 2 classes" in outcome.stderr
    assert "20 kept" in outcome.stderr
    outcome = call("fit-head", "f.h5", "--output", "run", "--C", 1)
    assert outcome.exit_code == 0, outcome.stderr
    lines = Path("run/predictions.csv").read_text().splitlines()
    assert sum(line.startswith("train/dog.") and ",train,dog," in line for line in lines) == 6
    assert sum(line.startswith("val/cat.") and ",val,cat," in line for line in lines) == 4


def test_a_pattern_takes_the_class_from_the_path_and_names_what_it_does_not_fit(dogs_and_cats):
    save_image(dogs_and_cats / "train" / "bird.png", 5)
    dataset = scan_dataset(dogs_and_cats, label_from=r"(cat|dog)\.")
    assert dataset.class_names == ["cat", "dog"]
    assert rows(dataset)["train/bird.png"] == (None, 0)
    assert "The pattern finds no class in 1 of 21 paths, such as train/bird.png." in dataset.notes
    assert scan_dataset(dogs_and_cats, label_from="cat|dog").class_names == ["cat", "dog"]
    photos = make_photos(dogs_and_cats / "by-folder", n_per_class=1)
    assert scan_dataset(photos, label_from="^.").class_names == ["b", "g", "r"]


@pytest.mark.parametrize(
    ("pattern", "match"),
    [
        ("(", "no regular expression: .* Received: `label_from='\\('`"),
        ("(cat)(dog)", "one pair of brackets"),
        ("bird", r"finds no class in any of the 20 paths. .* such as 'train/cat.0.png'"),
    ],
)
def test_patterns_that_make_no_sense_are_refused_by_name(dogs_and_cats, pattern, match):
    with pytest.raises(ParameterError, match=match) as caught:
        scan_dataset(dogs_and_cats, label_from=pattern)
    assert caught.value.parameter == "label_from"
    with pytest.raises(ParameterError, match="`class_depth` or `label_from`"):
        scan_dataset(dogs_and_cats, class_depth=2, label_from="cat")


@settings(max_examples=200, deadline=None)
@given(
    st.text("abcXYZ _-.(é花", min_size=1, max_size=12).filter(lambda t: t.strip(" ._(-") == t),
    st.sampled_from(["{}.{}.jpg", "{}_{}.png", "a/b 1/{}-{}.JPEG", "{} ({}).png", "{}{}.webp"]),
    st.integers(0, 10**6),
)  # fmt: skip
def test_the_pattern_that_is_offered_finds_what_stands_before_a_number(name, form, number):
    path = form.format(name, number)
    findings = Findings(FoundImages([FoundImage(path, 0, 0, None, -1)]))
    label_by_pattern(findings, USUAL_PATTERN)
    assert findings.images[0].class_name == name


def test_folders_deeper_than_pythons_stack_are_walked(tmp_path):
    image = save_image(tmp_path / "photos" / "a" / "1.png", 1)
    depth = 300
    deep = image.parent / "/".join("d" * depth)
    deep.mkdir(parents=True)
    shutil.copy(image, deep)
    limit = sys.getrecursionlimit()
    try:
        sys.setrecursionlimit(len(inspect.stack(0)) + depth - 50)
        dataset = scan_dataset(tmp_path / "photos")
        at_depth = scan_dataset(tmp_path / "photos", class_depth=depth)
    finally:
        sys.setrecursionlimit(limit)
    assert [path.count("/") for path in dataset.paths] == [1, depth + 1]
    assert dataset.class_names == ["a"]
    assert at_depth.class_names == ["/".join(["a", *"d" * (depth - 1)])]
    with pytest.raises(DatasetError, match="No images in this data set"):
        scan_dataset(tmp_path / "photos", class_depth=10**12)


def test_links_in_a_circle_and_pipes_are_passed_over_and_never_opened(tmp_path):
    make_photos(tmp_path / "photos", n_per_class=1)
    (tmp_path / "photos/red/loop.jpg").symlink_to("loop.jpg")
    (tmp_path / "photos/red/ping").symlink_to("pong")
    (tmp_path / "photos/red/pong").symlink_to("ping")
    os.mkfifo(tmp_path / "photos/red/a.jpg")
    os.mkfifo(tmp_path / "photos/red/README")
    dataset = scan_dataset(tmp_path / "photos")
    assert len(dataset) == 3
    notes = " ".join(dataset.notes)
    assert "Passed over 2 broken links and special files." in notes
    assert "Passed over 3 files that vanished or cannot be read." in notes
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(DatasetError, match="Too many levels of symbolic links"):
        scan_dataset(tmp_path / "circle")
