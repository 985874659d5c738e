"""What Keras is set to in a notebook changes no network, and is as it was afterwards."""

import random

import keras
import numpy as np
import pytest

from pipeline.backbones.build import build_backbone, build_embedding_model
from pipeline.backbones.engines.device import choose_device
from pipeline.backbones.engines.opening import open_model
from pipeline.backbones.keras_settings import keras_settings
from pipeline.backbones.registry import get_backbone
from pipeline.backbones.weights.resolve import resolve_weights
from pipeline.features.extract import make_recipe


@pytest.fixture
def hostile():
    """Settings under which no ImageNet weights give what they gave."""
    usual = _read_settings()
    _set("float16", "channels_first", 1e-2, "mixed_bfloat16")
    yield ("float16", "channels_first", 1e-2, "mixed_bfloat16")
    _set(*usual)


def _read_settings():
    config = keras.config
    policy = config.dtype_policy().name
    return config.floatx(), config.image_data_format(), config.epsilon(), policy


def _set(floatx, data_format, epsilon, policy):
    keras.config.set_floatx(floatx)
    keras.config.set_image_data_format(data_format)
    keras.config.set_epsilon(epsilon)
    keras.config.set_dtype_policy(policy)


def _features():
    model = build_embedding_model(*make_recipe("efficientnet-lite0", "imagenet", image_size=32))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    return open_model(model, choose_device("cpu"))(images)


def test_features_do_not_depend_on_a_notebooks_settings_and_leave_them(request):
    expected = _features()
    settings = request.getfixturevalue("hostile")
    received = _features()
    assert _read_settings() == settings
    assert received.dtype == np.float32
    np.testing.assert_array_equal(received, expected)
    assert np.abs(expected).max() > 0.1


def test_settings_are_put_back_after_an_error(hostile):
    with pytest.raises(ZeroDivisionError), keras_settings("mixed_float16"):
        assert _read_settings() == ("float32", "channels_last", 1e-7, "mixed_float16")
        _ = 1 / 0
    assert _read_settings() == hostile


# One of each way to begin: Keras's own, a clone of it, and networks of this project.
@pytest.mark.parametrize("name", ["mobilenetv2", "squeezenet1_1"])
def test_random_weights_of_a_seed_are_those_of_keras_and_no_random_state_changes(name):
    backbone = get_backbone(name)
    weights = resolve_weights(backbone, "random", seed=5)
    random.seed(1)
    np.random.seed(1)
    before = random.getstate(), np.random.get_state()[1].tolist()
    model = build_backbone(backbone, weights, 64)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    module, function = backbone.builder.split(":")
    build = getattr(__import__(module, fromlist=[function]), function)
    keras.utils.set_random_seed(5)
    expected = build(include_top=False, weights=None, input_shape=(64, 64, 3), pooling="avg")
    for mine, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_what_keras_draws_next_does_not_depend_on_a_network_that_was_built():
    backbone = get_backbone("efficientnet-lite0")
    draws = []
    for is_built in (False, True):
        keras.utils.set_random_seed(3)
        if is_built:
            build_backbone(backbone, resolve_weights(backbone, "random", seed=7), 32)
        draws.append((np.asarray(keras.random.uniform((4,))), random.random()))
    np.testing.assert_array_equal(draws[0][0], draws[1][0])
    assert draws[0][1] == draws[1][1]
