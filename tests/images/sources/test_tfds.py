"""A small data set of TensorFlow Datasets, made here, as class folders."""

import io
import sys

import numpy as np
import pytest
from conftest import call
from PIL import Image

from pipeline.errors import DatasetError, MissingExtraError
from pipeline.images.dataset import scan_dataset
from pipeline.images.sources.tfds import fetch_tfds

tfds = pytest.importorskip("tensorflow_datasets")

NAMES = ["red/rose", ".hidden", "lily"]
SIZES = {"train": 7, "test": 4, "validation": 3}


def encode(number, format_name):
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format_name)
    return stream.getvalue()


def examples(split):
    """(encoded image, label) of each example of a split."""
    start = 100 * list(SIZES).index(split)
    formats = ["JPEG", "PNG"]
    return [
        (encode(start + i, formats[i % 2]), -1 if split == "test" and i == 0 else i % 3)
        for i in range(SIZES[split])
    ]


class FrostlineTiny(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "name": tfds.features.Text(),
                "label": tfds.features.ClassLabel(names=NAMES),
            }
        )
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in SIZES}

    def _generate_examples(self, split):
        for number, (image, label) in enumerate(examples(split)):
            yield number, {"image": io.BytesIO(image), "label": label, "name": f"{split} {number}"}


class FrostlineSounds(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict({"label": tfds.features.ClassLabel(num_classes=2)})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield 0, {"label": 1}


@pytest.fixture(autouse=True)
def _data_dir(tmp_path, monkeypatch):
    builder = tfds.builder
    monkeypatch.setattr(
        tfds, "builder", lambda name: builder(name, data_dir=str(tmp_path / "tfds"))
    )


def test_images_keep_their_bytes_classes_and_splits(tmp_path):
    outcome = call("fetch", "tfds:frostline_tiny")
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stdout == "data/frostline_tiny\n"
    assert "1 without a label, left out" in outcome.stderr
    dataset = scan_dataset(tmp_path / "data/frostline_tiny")
    assert dataset.class_names == ["_.hidden", "lily", "red_rose"]
    folder_of = {0: "red_rose", 1: "_.hidden", 2: "lily"}
    expected = {
        (number, folder_of[label], image)
        for number, split in enumerate(("train", "validation", "test"))
        for image, label in examples(split)
        if label >= 0
    }
    found = {
        (split, dataset.class_names[label], (dataset.root / path).read_bytes())
        for path, label, split in zip(
            dataset.paths, dataset.labels.tolist(), dataset.splits.tolist(), strict=True
        )
    }
    assert found == expected
    for path in dataset.paths:
        start = (dataset.root / path).read_bytes()[:3]
        assert path.endswith(".jpg" if start == b"\xff\xd8\xff" else ".png")


def test_unknown_data_set_and_one_without_images_are_errors(tmp_path):
    outcome = call("fetch", "tfds:no_such_data_set_anywhere")
    assert outcome.exit_code == 1
    assert "no_such_data_set_anywhere" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    with pytest.raises(DatasetError, match="no data set for image classification"):
        fetch_tfds("frostline_sounds", tmp_path / "sounds")
    assert not (tmp_path / "sounds").exists()


def test_missing_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[tfds\]'"):
        fetch_tfds("mnist", tmp_path / "mnist")
