"""Every line of the table against the network that it names. Most of it is slow."""

import ctypes
import gc
import importlib
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from conftest import Outcome, call, save_image
from keras.src.utils import file_utils
from networks import features_of, random_images, set_statistics

from pipeline.backbones.build import build_backbone, build_embedding_model
from pipeline.backbones.multiply_adds import count_multiply_adds
from pipeline.backbones.registry import BACKBONES, get_backbone
from pipeline.backbones.weights.resolve import resolve_weights
from pipeline.errors import BackboneError, WeightsError
from pipeline.features.extract import make_recipe
from pipeline.features.feature_file import FeatureFile

ROOT = Path(__file__).resolve().parents[2]
KERAS_NAMES = [n for n, b in BACKBONES.items() if b.builder.startswith("keras.applications:")]
# The least that Keras allows.
LEAST_SIZE = {"inceptionv3": 75, "inceptionresnetv2": 75, "xception": 71}


@pytest.fixture(autouse=True)
def _give_memory_back():
    """Networks hold gigabytes: first in circles, then where glibc keeps what was freed."""
    yield
    keras.backend.clear_session()
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def _slow_but(names, quick):
    return [n if n in quick else pytest.param(n, marks=pytest.mark.slow) for n in names]


def _size(name):
    return LEAST_SIZE.get(name, 64)


def _keras_function(name):
    return getattr(keras.applications, BACKBONES[name].builder.split(":")[1])


def _reference(name, tmp_path):
    """The Keras application, with random weights, built as it is with those of ImageNet."""
    arguments = {"include_top": False, "pooling": "avg", "input_shape": (_size(name),) * 2 + (3,)}
    keras.utils.set_random_seed(1)
    model = _keras_function(name)(weights=None, **arguments)
    if name.startswith("efficientnetb"):  # whose graph depends on where the weights come from
        path = tmp_path / "random.weights.h5"
        model.save_weights(path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(file_utils, "get_file", lambda *_, **__: str(path))
            model = _keras_function(name)(weights="imagenet", **arguments)
        path.unlink()
    return model


@pytest.mark.parametrize(
    "name", _slow_but(KERAS_NAMES, ("mobilenetv2", "mobilenetv3small", "vgg16"))
)
def test_the_full_model_equals_preprocess_input_and_the_keras_application(name, tmp_path):
    family = importlib.import_module(_keras_function(name).__module__)
    images = random_images(_size(name))
    pixels = family.preprocess_input(images.copy())
    reference = _reference(name, tmp_path)
    set_statistics(reference, family.preprocess_input(random_images(_size(name), 32)))
    expected = np.asarray(reference(pixels))
    greatest = np.abs(expected).max()
    assert 0.05 < greatest < 1e4
    path = tmp_path / "a.weights.h5"
    reference.save_weights(path)
    received = features_of(name, resolve_weights(get_backbone(name), path), images)
    path.unlink()  # up to 1.4 GB
    assert np.abs(received - expected).max() <= 1e-4 * greatest


QUICK_TO_EXTRACT = ("squeezenet1_0", "resnet18")


def _call_in_a_process(*arguments) -> Outcome:
    """TensorFlow keeps the memory of each network that was built: too much after forty."""
    command = [sys.executable, ROOT / "cli.py", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("name", _slow_but(BACKBONES, QUICK_TO_EXTRACT))
def test_eight_images_are_extracted_and_the_table_says_how_many_features(name, tmp_path):
    for number in range(8):
        save_image(tmp_path / "photos" / "ab"[number % 2] / f"{number}.png", seed=number)
    run = call if name in QUICK_TO_EXTRACT else _call_in_a_process
    outcome = run(
        *("extract", tmp_path / "photos", "--backbone", name, "--weights", "random"),
        *("--image-size", _size(name), "--output", tmp_path / "features.h5"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    with FeatureFile(tmp_path / "features.h5") as file:
        features = file.read_all()
    assert features.shape == (8, BACKBONES[name].n_features)
    assert np.isfinite(features).all()
    assert len(np.unique(features, axis=0)) == 8


@pytest.mark.parametrize(
    "name", _slow_but(BACKBONES, ("efficientnet-lite2", "mobilenetv3small", "squeezenet1_1"))
)
def test_the_table_has_the_networks_parameters_and_multiply_adds(name):
    backbone = BACKBONES[name]
    model = build_backbone(backbone, resolve_weights(backbone, "random"), backbone.image_size)
    assert model.output_shape == (None, backbone.n_features)
    assert model.count_params() == backbone.parameters
    assert count_multiply_adds(model) == backbone.multiply_adds


@pytest.mark.parametrize(
    "name",
    _slow_but(BACKBONES, ("efficientnet-lite0", "vgg16", "mobilenetv3small", "squeezenet1_1")),
)
def test_the_tables_feature_layer_gives_the_features_of_top(name):
    backbone, images = BACKBONES[name], random_images(_size(name))
    weights = resolve_weights(backbone, "random")
    expected = features_of(name, weights, images)
    received = features_of(name, weights, images, layer=backbone.feature_layer)
    greatest = np.abs(expected).max()
    assert expected.std() > 0.01 * greatest
    assert received.shape == expected.shape
    assert np.abs(received - expected).max() <= 1e-6 * greatest


@pytest.mark.slow
def test_the_feature_layer_of_convnext_is_pooled_below_it_as_top_is():
    images = random_images(64)
    weights = resolve_weights(get_backbone("convnexttiny"), "random")
    top = features_of("convnexttiny", weights, images, pooling="max")
    layer = get_backbone("convnexttiny").feature_layer
    received = features_of("convnexttiny", weights, images, layer=layer, pooling="max")
    np.testing.assert_array_equal(received, top)


@pytest.mark.parametrize("name", _slow_but(BACKBONES, ("mobilenetv2", "squeezenet1_1")))
def test_the_table_names_the_layers_that_only_the_classifier_adds(name):
    backbone, size = BACKBONES[name], _size(name)
    weights = resolve_weights(backbone, "random")
    for layer in backbone.top_layers:
        shape = build_backbone(backbone, weights, size, layer=layer).output_shape
        if layer == backbone.top_layers[-1]:
            assert shape == (None, 1000)
    with pytest.raises(BackboneError, match="no layer 'no_such_layer'"):
        build_backbone(backbone, weights, size, layer="no_such_layer")
    # Without an average pooling of its own, whose name could be that of the classifier's.
    pooling = "avg" if name == "alexnet" else "flatten"
    below = build_backbone(backbone, weights, size, pooling=pooling)
    assert not {layer.name for layer in below.layers} & set(backbone.top_layers)


@pytest.fixture(scope="module")
def vgg16_with_top(tmp_path_factory):
    """The whole VGG16 for images of 32 pixels, and its weights in a file."""
    keras.utils.set_random_seed(1)
    model = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3))
    path = tmp_path_factory.mktemp("vgg16") / "vgg16.weights.h5"
    model.save_weights(path)
    yield model, path
    path.unlink()


def test_fc2_of_vgg16_is_what_keras_gives_at_that_layer(vgg16_with_top):
    model, path = vgg16_with_top
    images = random_images(32)
    pixels = keras.applications.vgg16.preprocess_input(images.copy())
    expected = np.asarray(keras.Model(model.input, model.get_layer("fc2").output)(pixels))
    greatest = np.abs(expected).max()
    assert greatest > 0.1
    recipe, weights = make_recipe("vgg16", str(path), image_size=32, layer="fc2", pooling="none")
    assert (recipe.layer, recipe.pooling) == ("fc2", "none")
    received = np.asarray(build_embedding_model(recipe, weights)(images))
    assert received.shape == (3, 4096)
    assert np.abs(received - expected).max() <= 1e-4 * greatest
    below = features_of("vgg16", weights, images)
    maps = keras.Model(model.input, model.get_layer("block5_pool").output)(pixels)
    np.testing.assert_allclose(below, np.asarray(maps).mean((1, 2)), rtol=1e-4, atol=1e-4)


def test_weights_that_lack_the_classifier_or_are_for_other_images_say_so(vgg16_with_top, tmp_path):
    model, path = vgg16_with_top
    recipe, weights = make_recipe("vgg16", str(path), image_size=64, layer="fc2")
    with pytest.raises(WeightsError, match=r"(?s)fc1.*images of 224 pixels"):
        build_embedding_model(recipe, weights)
    below = keras.Model(model.input, model.get_layer("block5_pool").output)
    below.save_weights(tmp_path / "below.weights.h5")
    recipe, weights = make_recipe(
        "vgg16", str(tmp_path / "below.weights.h5"), image_size=32, layer="fc2"
    )
    with pytest.raises(WeightsError, match=r"(?s)missing: dense.*needs the weights of the class"):
        build_embedding_model(recipe, weights)


@pytest.mark.slow
def test_extract_takes_layer_and_pooling_and_its_recipe_has_them(tmp_path):
    for number in range(4):
        save_image(tmp_path / "photos" / "a" / f"{number}.png", seed=number)
    arguments = ("extract", tmp_path / "photos", "--backbone", "lite0", "--image-size", 32)
    ids, widths = set(), []
    for options in (
        ("--layer", "block6d_add"),
        ("--layer", "block6d_add", "--pooling", "max"),
        ("--layer", "block4a_bn", "--pooling", "flatten"),
        ("--layer", "predictions", "--pooling", "none"),
    ):
        outcome = call(*arguments, *options)
        assert outcome.exit_code == 0, outcome.stderr
        with FeatureFile(outcome.stdout.splitlines()[-1]) as file:
            recipe = file.contents.recipe
            ids.add(recipe.id)
            widths.append(file.read_all().shape[1])
        assert recipe.layer == options[1]
        assert recipe.pooling == (options[3] if len(options) == 4 else "avg")
    assert len(ids) == 4
    # block4a works on 2 x 2 cells: 32 pixels after the stem and three halvings.
    assert widths == [192, 192, 2 * 2 * 240, 1000]
    outcome = call(*arguments, "--layer", "predictions", "--pooling", "max")
    assert outcome.exit_code == 1
    assert "--pooling none" in outcome.stderr
    outcome = call(*arguments, "--layer", "block6d_ad")
    assert outcome.exit_code == 1
    assert "block6d_add" in outcome.stderr


def test_layers_without_a_name_have_the_same_number_whatever_was_built_before():
    backbone = get_backbone("mobilenetv3small")
    weights = resolve_weights(backbone, "random")
    first, second = (build_backbone(backbone, weights, 32) for _ in range(2))
    assert [layer.name for layer in first.layers] == [layer.name for layer in second.layers]
    assert "activation_5" in [layer.name for layer in second.layers]
    # And Keras goes on counting for everybody else.
    names = [keras.layers.Dense(1).name for _ in range(2)]
    assert names[0] != names[1]
