"""Building backbones: the same numbers as the networks that they stand for, from any file."""

import dataclasses
import importlib
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from keras.src.utils import file_utils
from networks import SIZE, features_of, random_images, recipe_of, set_statistics
from reference_images import make_reference_images, pad_reference_images

from pipeline.backbones.build import build_backbone, build_embedding_model
from pipeline.backbones.networks.efficientnet_lite import EfficientNetLite0, load_state_dict
from pipeline.backbones.registry import get_backbone
from pipeline.backbones.weights.resolve import resolve_weights
from pipeline.backbones.weights.torch_checkpoints import read_state_dict
from pipeline.errors import BackboneError, WeightsError
from pipeline.features.extract import make_recipe

REFERENCE = Path(__file__).parents[1] / "reference" / "efficientnet_lite0.npz"


def _keras_b0(weights):
    return keras.applications.EfficientNetB0(
        weights=weights, include_top=False, input_shape=(SIZE, SIZE, 3), pooling="avg"
    )


def _keras_b0_as_from_imagenet(path):
    """What Keras builds for `weights="imagenet"`, with the weights of a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_utils, "get_file", lambda *_, **__: str(path))
        return _keras_b0("imagenet")


@pytest.fixture(scope="module")
def keras_b0(tmp_path_factory):
    keras.utils.set_random_seed(1)
    path = tmp_path_factory.mktemp("random") / "b0.weights.h5"
    _keras_b0(None).save_weights(path)
    model = _keras_b0_as_from_imagenet(path)
    set_statistics(model, random_images())
    return model


@pytest.fixture(scope="module")
def b0_files(keras_b0, tmp_path_factory):
    """The same weights in all formats."""
    folder = tmp_path_factory.mktemp("weights")
    keras_b0.save(folder / "model.h5")
    keras_b0.save(folder / "model.keras")
    keras_b0.save_weights(folder / "model.weights.h5")
    with h5py.File(folder / "model.h5") as whole, h5py.File(folder / "notop.h5", "w") as file:
        # As keras.applications publish it: weights only, groups at the root.
        for name, value in whole["model_weights"].attrs.items():
            file.attrs[name] = value
        for name in whole["model_weights"]:
            whole.copy(f"model_weights/{name}", file)
    with_top = keras.Model(keras_b0.input, keras.layers.Dense(7)(keras_b0.output))
    with_top.save(folder / "top.h5")
    with_top.save_weights(folder / "top.weights.h5")
    return folder


@pytest.fixture(scope="module")
def b0_features(b0_files):
    """What Frostline makes of the file as it is published."""
    weights = resolve_weights(get_backbone("efficientnetb0"), b0_files / "notop.h5")
    return features_of("efficientnetb0", weights, random_images())


@pytest.mark.parametrize(
    "file",
    [
        "notop.h5",
        pytest.param("model.keras", marks=pytest.mark.slow),
        pytest.param("model.h5", marks=pytest.mark.slow),
        pytest.param("model.weights.h5", marks=pytest.mark.slow),
    ],
)
def test_efficientnetb0_equals_what_keras_builds_from_the_same_file(file, b0_files, b0_features):
    """Keras adds a Rescaling only where it believes that the weights are its own."""
    expected = np.asarray(_keras_b0_as_from_imagenet(b0_files / file)(random_images()))
    greatest = np.abs(expected).max()
    assert 0.1 < greatest < 100
    received = b0_features
    if file != "notop.h5":
        weights = resolve_weights(get_backbone("efficientnetb0"), b0_files / file)
        received = features_of("efficientnetb0", weights, random_images())
    assert np.abs(received - expected).max() <= 1e-4 * greatest


def test_the_graph_that_keras_builds_for_other_weights_gives_other_features(keras_b0, b0_files):
    """So the test above can fail."""
    expected = np.asarray(keras_b0(random_images()))
    other = _keras_b0(None)
    other.load_weights(b0_files / "notop.h5")
    assert (
        np.abs(np.asarray(other(random_images())) - expected).max() > 0.01 * np.abs(expected).max()
    )


def test_weights_in_keras_home_are_those_of_the_file(b0_files, b0_features, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    content = (b0_files / "notop.h5").read_bytes()
    (tmp_path / "models" / "efficientnetb0_notop.h5").write_bytes(content)
    backbone = get_backbone("efficientnetb0")
    source = dataclasses.replace(backbone.weights, file_hash=None)
    backbone = dataclasses.replace(backbone, weights=source)
    from_home = features_of(
        "efficientnetb0", resolve_weights(backbone, "imagenet"), random_images()
    )
    np.testing.assert_array_equal(from_home, b0_features)


@pytest.mark.parametrize("file", ["top.h5", pytest.param("top.weights.h5", marks=pytest.mark.slow)])
def test_a_file_with_the_classifier_gives_the_same_features(file, b0_files, b0_features):
    backbone = get_backbone("efficientnetb0")
    received = features_of(
        "efficientnetb0", resolve_weights(backbone, b0_files / file), random_images()
    )
    np.testing.assert_array_equal(received, b0_features)


ONE_BY_ONE = ("mobilenet", "mobilenetv3small", "squeezenet")
KERAS_FILES = (".h5", ".weights.h5", ".keras")


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        *zip(ONE_BY_ONE, KERAS_FILES, strict=True),
        *(
            pytest.param(name, suffix, marks=pytest.mark.slow)
            for number, name in enumerate(ONE_BY_ONE)
            for suffix in KERAS_FILES
            if suffix != KERAS_FILES[number]
        ),
    ],
)
def test_a_classifier_of_1x1_convolutions_is_left_out_too(name, suffix, tmp_path):
    size = 64
    backbone = get_backbone(name)
    module, function = backbone.builder.split(":")
    keras.utils.set_random_seed(1)
    whole = getattr(importlib.import_module(module), function)(
        weights=None, input_shape=(size, size, 3)
    )
    *_, last = (layer for layer in whole.layers if layer.weights)
    assert isinstance(last, keras.layers.Conv2D)
    path = tmp_path / f"whole{suffix}"
    (whole.save_weights if suffix == ".weights.h5" else whole.save)(path)
    model = build_backbone(backbone, resolve_weights(backbone, path), size)
    # Maps, or one pixel of them where the network pools before its classifier.
    feature_maps = keras.Model(whole.input, whole.get_layer(backbone.top_layers[0]).input)
    expected = np.asarray(feature_maps(random_images(size))).mean((1, 2))
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(np.asarray(model(random_images(size))), expected, rtol=1e-3)


def test_reference_images_are_those_that_pytorch_saw():
    """If not, it is NumPy's generator that has changed and not the backbone."""
    assert zlib.crc32(make_reference_images().tobytes()) == 0x093B7F6C


def test_lite0_equals_the_reference_features_and_logits_from_pytorch():
    reference = np.load(REFERENCE)
    images = make_reference_images()
    backbone = get_backbone("efficientnet-lite0")
    weights = resolve_weights(backbone, "imagenet")
    features = features_of("efficientnet-lite0", weights, images)
    greatest = np.abs(reference["features"]).max()
    assert greatest > 1
    assert np.abs(features - reference["features"]).max() <= 1e-3 * greatest

    classifier = EfficientNetLite0(classifier_activation=None)
    load_state_dict(classifier, read_state_dict(weights.path))
    logits = np.asarray(classifier((images.astype("float32") - 127) / 128))
    np.testing.assert_array_equal(logits.argmax(1), reference["logits"].argmax(1))
    assert np.abs(logits - reference["logits"]).max() <= 1e-3 * np.abs(reference["logits"]).max()


@pytest.mark.parametrize(("number", "side"), [(1, 240), (2, 260)])
def test_lite1_and_lite2_equal_the_reference_features_from_pytorch(number, side):
    backbone = get_backbone(f"efficientnet-lite{number}")
    pytest.importorskip(backbone.weights.module, reason="needs the extra [lite]")
    expected = np.load(REFERENCE.with_name("efficientnet_lite1_2.npz"))[f"lite{number}"]
    images = pad_reference_images(make_reference_images(2), side)
    received = features_of(backbone.name, resolve_weights(backbone, "imagenet"), images)
    greatest = np.abs(expected).max()
    assert greatest > 1
    assert np.abs(received - expected).max() <= 1e-4 * greatest


def test_the_classifiers_scores_are_a_layer_too():
    reference = np.load(REFERENCE)
    weights = resolve_weights(get_backbone("lite0"), "imagenet")
    received = features_of(
        "lite0", weights, make_reference_images(), layer="predictions", pooling="none"
    )
    exponents = np.exp(reference["logits"] - reference["logits"].max(1, keepdims=True))
    np.testing.assert_allclose(received, exponents / exponents.sum(1, keepdims=True), atol=1e-4)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras", ".h5"])
def test_lite0_loads_its_weights_from_keras_files_too(suffix, tmp_path):
    backbone = get_backbone("efficientnet-lite0")
    weights = resolve_weights(backbone, "imagenet")
    model = build_backbone(backbone, weights, SIZE)
    path = tmp_path / f"saved{suffix}"
    (model.save_weights if suffix == ".weights.h5" else model.save)(path)
    again = build_backbone(backbone, resolve_weights(backbone, path), SIZE)
    np.testing.assert_array_equal(
        np.asarray(again(random_images())), np.asarray(model(random_images()))
    )


def test_lite0_drops_connections_in_the_blocks_that_keras_efficientnet_does(keras_b0):
    lite0 = EfficientNetLite0(include_top=False, input_shape=(SIZE, SIZE, 3))

    def dropouts(model):
        return {
            layer.name: (pytest.approx(layer.rate), layer.noise_shape)
            for layer in model.layers
            if isinstance(layer, keras.layers.Dropout)
        }

    assert dropouts(lite0) == dropouts(keras_b0)
    assert "block2b_drop" in dropouts(lite0)


def test_the_full_model_is_image_preprocessing_backbone_and_nothing_to_train_below():
    backbone = get_backbone("resnet50")
    weights = resolve_weights(backbone, "random")
    model = build_embedding_model(recipe_of("resnet50", weights.key), weights)
    assert [layer.name for layer in model.layers] == ["image", "preprocessing", "backbone"]
    assert model.inputs[0].dtype == "float32"
    assert model.output_shape == (None, backbone.n_features)
    assert not model.get_layer("preprocessing").trainable_weights


def test_a_bgr_backbone_equals_preprocess_input_and_the_keras_application(tmp_path):
    keras.utils.set_random_seed(1)
    reference = keras.applications.ResNet50(
        weights=None, include_top=False, pooling="avg", input_shape=(SIZE, SIZE, 3)
    )
    pixels = keras.applications.resnet.preprocess_input(random_images())
    set_statistics(reference, pixels)
    expected = np.asarray(reference(pixels))
    assert 0.1 < np.abs(expected).max() < 100
    reference.save_weights(tmp_path / "a.weights.h5")
    weights = resolve_weights(get_backbone("resnet50"), tmp_path / "a.weights.h5")
    received = features_of("resnet50", weights, random_images())
    assert np.abs(received - expected).max() <= 1e-4 * np.abs(expected).max()


HASH_OF_RANDOM_WEIGHTS = f"""
import hashlib
from pipeline.backbones.build import build_backbone
from pipeline.backbones.registry import get_backbone
from pipeline.backbones.weights.resolve import resolve_weights
backbone = get_backbone("efficientnetb0")
model = build_backbone(backbone, resolve_weights(backbone, "random", 3), {SIZE})
print(hashlib.sha256(b"".join(w.numpy().tobytes() for w in model.weights)).hexdigest())
"""


@pytest.mark.slow
def test_random_weights_are_the_same_in_a_new_process(capsys):
    result = subprocess.run(
        [sys.executable, "-c", HASH_OF_RANDOM_WEIGHTS],
        env={"PYTHONPATH": ":".join(filter(None, sys.path)), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=True,
    )
    exec(HASH_OF_RANDOM_WEIGHTS, {})
    assert capsys.readouterr().out == result.stdout


def test_random_weights_depend_on_the_seed():
    backbone = get_backbone("efficientnet-lite0")
    models = [
        build_backbone(backbone, resolve_weights(backbone, "random", s), SIZE) for s in (3, 4)
    ]
    first, second = (model.get_layer("top_conv").get_weights()[0] for model in models)
    assert np.abs(first - second).max() > 0.01


def _edit(source, target, change):
    target.write_bytes(source.read_bytes())
    with h5py.File(target, "r+") as file:
        change(file)
    return target


def _remove_last_layer(file):
    if "layers" in file:
        del file["layers/batch_normalization_48"]
    else:
        _name_layers(file, [name for name in file.attrs["layer_names"] if name != "top_bn"])


def _add_layer(file):
    if "layers" in file:
        file["layers/conv2d_999/vars/0"] = np.zeros((1, 1, 3, 3))
    else:
        file["other/kernel"] = np.zeros((1, 1, 3, 3))
        file["other"].attrs["weight_names"] = [b"kernel"]
        _name_layers(file, [*file.attrs["layer_names"], "other"])


def _name_layers(file, names):
    file.attrs["layer_names"] = [str(name).encode() for name in names]


def _reshape_weight(file):
    path = "layers/conv2d/vars/0" if "layers" in file else "stem_conv/stem_conv/kernel"
    array = file[path][:]
    del file[path]
    file[path] = array[..., :-1]


@pytest.mark.parametrize("file", ["notop.h5", "model.weights.h5"])
@pytest.mark.parametrize(
    ("change", "what"),
    [
        (_remove_last_layer, "Expected (131|132) layers .*eceived (130|131)"),
        (_add_layer, "Expected (131|132) layers .*eceived (132|133)"),
        (_reshape_weight, r"\(3, 3, 3, 32\)"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(file, change, what, b0_files, tmp_path):
    path = _edit(b0_files / file, tmp_path / file, change)
    backbone = get_backbone("efficientnetb0")
    with pytest.raises(WeightsError, match=rf"does not fit `backbone=efficientnetb0`.*{what}"):
        build_backbone(backbone, resolve_weights(backbone, path), SIZE)


@pytest.mark.parametrize(
    "file", ["notop.h5", "model.h5", "model.weights.h5", "model.keras", "top.weights.h5"]
)
def test_weights_of_another_network_are_refused(file, b0_files):
    backbone = get_backbone("efficientnet-lite0")
    with pytest.raises(WeightsError, match="does not fit `backbone=efficientnet-lite0`"):
        build_backbone(backbone, resolve_weights(backbone, b0_files / file), SIZE)


@pytest.mark.parametrize("file", ["notop.h5", "model.weights.h5", "model.keras"])
@pytest.mark.parametrize("kept", [0, 100, -1000])
def test_a_truncated_file_is_refused(file, kept, b0_files, tmp_path):
    path = tmp_path / file
    path.write_bytes((b0_files / file).read_bytes()[:kept])
    backbone = get_backbone("efficientnet-lite0")
    with pytest.raises(WeightsError, match="cannot be read as a Keras weights file"):
        build_backbone(backbone, resolve_weights(backbone, path), SIZE)


def test_flipping_any_byte_of_a_keras_file_never_ends_in_another_error(tmp_path):
    """Of every 250th or so; HDF5 runs in a process of its own, which damaged bytes may crash."""
    result = subprocess.run(
        [sys.executable, Path(__file__).parents[1] / "damaged_weights.py", tmp_path, "80"],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [".weights.h5: True", ".h5: True", ".keras: True"]


def test_links_out_of_a_weights_file_are_not_followed(b0_files, tmp_path):
    def link(file):
        del file["layers/conv2d/vars/0"]
        file["layers/conv2d/vars/0"] = h5py.ExternalLink(str(b0_files / "model.h5"), "/x")

    path = _edit(b0_files / "model.weights.h5", tmp_path / "a.weights.h5", link)
    backbone = get_backbone("efficientnetb0")
    with pytest.raises(WeightsError, match="points elsewhere"):
        build_backbone(backbone, resolve_weights(backbone, path), SIZE)


def test_a_keras_archive_without_weights_is_refused(tmp_path):
    path = tmp_path / "a.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    backbone = get_backbone("efficientnet-lite0")
    with pytest.raises(WeightsError, match="cannot be read as a Keras weights file"):
        build_backbone(backbone, resolve_weights(backbone, path), SIZE)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda d: d.pop("_bn1.bias"), r"1 missing: _bn1\.bias"),
        (lambda d: d.update(other=np.zeros(1)), "1 not expected: other"),
        (
            lambda d: d.update({"_conv_stem.weight": np.zeros((32, 3, 5, 5))}),
            r"_conv_stem\.weight \(32, 3, 5, 5\) instead of \(32, 3, 3, 3\)",
        ),
    ],
)
def test_a_state_dict_that_does_not_fit_names_the_tensors_and_changes_nothing(change, what):
    state_dict = read_state_dict(resolve_weights(get_backbone("lite0"), "imagenet").path)
    change(state_dict)
    model = EfficientNetLite0(include_top=False, input_shape=(SIZE, SIZE, 3))
    before = model.get_layer("top_conv").get_weights()
    with pytest.raises(WeightsError, match=what):
        load_state_dict(model, state_dict)
    np.testing.assert_array_equal(before, model.get_layer("top_conv").get_weights())


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.array(np.nan, "f4"), "not finite"),
        (np.array(-np.inf, "f2"), "not finite"),
        (np.array(1e39), "not finite"),  # more than float32 holds
        (np.array(3), "Received: int64"),
    ],
)
def test_a_state_dict_with_other_things_than_finite_floats_changes_nothing(values, what):
    state_dict = read_state_dict(resolve_weights(get_backbone("lite0"), "imagenet").path)
    name = "_bn1.running_var"
    state_dict[name] = np.where(np.arange(1280) == 7, values, values.dtype.type(1))
    model = EfficientNetLite0(include_top=False, input_shape=(SIZE, SIZE, 3))
    before = model.get_layer("stem_conv").get_weights()
    with pytest.raises(WeightsError, match=rf"_bn1\.running_var .*{what}"):
        load_state_dict(model, state_dict)
    np.testing.assert_array_equal(before, model.get_layer("stem_conv").get_weights())


def test_weights_of_another_recipe_are_refused():
    weights = resolve_weights(get_backbone("efficientnet-lite0"), "random", seed=1)
    recipe = recipe_of("efficientnet-lite0", "random:2")
    with pytest.raises(WeightsError, match=r"Expected random:2\. Received random:1"):
        build_embedding_model(recipe, weights)


def test_layer_and_pooling_decide_the_features():
    weights = resolve_weights(get_backbone("efficientnet-lite0"), "imagenet")
    layer = {"layer": "block6d_add"}
    avg = features_of("efficientnet-lite0", weights, random_images(64), **layer, pooling="avg")
    top = features_of("efficientnet-lite0", weights, random_images(64), **layer, pooling="max")
    flat = features_of("efficientnet-lite0", weights, random_images(64), **layer, pooling="flatten")
    assert flat.shape == (3, 2 * 2 * 192)
    maps = flat.reshape(3, 4, 192)
    np.testing.assert_allclose(avg, maps.mean(1), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(top, maps.max(1))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"layer": "nowhere"}, "no layer 'nowhere'.*top_activation"),
        ({"pooling": "none"}, r"one row for an image.*\(1, 1, 1280\)"),
    ],
)
def test_an_impossible_layer_or_pooling_is_refused(changes, what):
    weights = resolve_weights(get_backbone("efficientnet-lite0"), "random")
    with pytest.raises(BackboneError, match=what):
        features_of("efficientnet-lite0", weights, random_images(), **changes)


def test_a_pooling_that_there_is_not_makes_no_recipe():
    weights = resolve_weights(get_backbone("efficientnet-lite0"), "random")
    with pytest.raises(ValueError, match="`pooling` to be one of avg, max, flatten, none"):
        features_of("efficientnet-lite0", weights, random_images(), pooling="median")


def test_an_image_size_that_a_backbone_cannot_take_is_refused():
    backbone = get_backbone("efficientnetb0")
    with pytest.raises(BackboneError, match=r"16 x 16 pixels.*usual size is `image_size=224`"):
        build_backbone(backbone, resolve_weights(backbone, "random"), 16)


@pytest.mark.parametrize("size", [4097, 100_000, 2**31])
def test_an_image_size_that_no_memory_can_take_is_refused(size):
    with pytest.raises(BackboneError, match=f"at most 4,096. Received: `image_size={size}`"):
        make_recipe("efficientnet-lite0", "random", image_size=size)


@pytest.mark.parametrize(("name", "size"), [("alexnet", 20), ("squeezenet", 8)])
def test_too_small_an_image_is_refused_in_one_plain_sentence(name, size):
    """Keras prints the message in bold, between the name of the layer and its arguments."""
    backbone = get_backbone(name)
    with pytest.raises(BackboneError, match=rf"{size} x {size} pixels: Computed output") as error:
        build_backbone(backbone, resolve_weights(backbone, "random"), size)
    message = str(error.value)
    assert message.isprintable()
    assert "Arguments received" not in message
    assert message.endswith("`padding=valid`. Its usual size is `image_size=224`.")


def test_reduced_precision_gives_float32_features_and_leaves_the_policy_alone():
    weights = resolve_weights(get_backbone("efficientnet-lite0"), "imagenet")
    exact = features_of("efficientnet-lite0", weights, random_images())
    reduced = features_of(
        "efficientnet-lite0", weights, random_images(), precision="mixed_bfloat16"
    )
    assert keras.config.dtype_policy().name == "float32"
    assert reduced.dtype == np.float32
    difference = np.abs(reduced - exact).max() / np.abs(exact).max()
    assert 0 < difference < 0.1
