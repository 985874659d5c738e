"""AlexNet, SqueezeNet and ResNet-18 against torchvision's numbers, and a reference in NumPy."""

import json
import math
import zlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from conftest import call, make_photos
from torch_files import tensor, write_old, write_zip

from pipeline.backbones.build import build_backbone, build_embedding_model
from pipeline.backbones.networks.torchvision_models import (
    AlexNet,
    ResNet18,
    SqueezeNet1_0,
    SqueezeNet1_1,
    load_state_dict,
)
from pipeline.backbones.registry import get_backbone
from pipeline.backbones.weights.resolve import resolve_weights
from pipeline.errors import BackboneError, WeightsError
from pipeline.features.extract import make_recipe

REFERENCE = Path(__file__).parents[2] / "reference"
SHAPES = json.loads((REFERENCE / "torchvision_state_dict_shapes.json").read_text())
NETWORKS = {
    "alexnet": AlexNet,
    "squeezenet1_0": SqueezeNet1_0,
    "squeezenet1_1": SqueezeNet1_1,
    "resnet18": ResNet18,
}
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def _state_dict(name):
    """As tests/reference/README.md says."""
    state_dict = {}
    for tensor_name, shape in SHAPES[name].items():
        rng = np.random.default_rng(zlib.crc32(tensor_name.encode()))
        values = rng.standard_normal(shape)
        scale = 0.01 if len(shape) == 1 else np.sqrt(2 / np.prod(shape[1:]))
        state_dict[tensor_name] = (values * scale).astype(np.float32)
    return state_dict


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["alexnet", "squeezenet1_0", "squeezenet1_1"])
def test_features_equal_those_of_torchvision(name, images, tmp_path):
    tensors = {n: tensor(a, str(i)) for i, (n, a) in enumerate(_state_dict(name).items())}
    path = write_zip(tmp_path / f"{name}.pth", tensors)
    recipe, weights = make_recipe(name, str(path))
    received = np.asarray(build_embedding_model(recipe, weights)(images.astype("float32")))
    expected = np.load(REFERENCE / "torchvision_features.npz")[name]
    greatest = np.abs(expected).max()
    assert greatest > 10
    assert received.shape == expected.shape
    assert np.abs(received - expected).max() <= 1e-4 * greatest


# What PyTorch computes, from its documentation, in the order (n, channels, height, width).
def _convolve(x, weight, stride, padding):
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axis=(2, 3))
    return np.einsum("nchwij,ocij->nohw", windows[:, :, ::stride, ::stride], weight, optimize=True)


def _pool_max(x, size, stride, padding):
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))
    return windows[:, :, ::stride, ::stride].max((4, 5))


def _normalise(x, parameters, name):
    weight, bias, mean, variance = (
        parameters[f"{name}.{part}"][:, None, None]
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    return (x - mean) / np.sqrt(variance + 1e-5) * weight + bias


def _resnet18(x, p):
    """He et al. 2015 as torchvision has it: a stride of 2 in a stage's first 3x3 convolution."""
    x = np.maximum(_normalise(_convolve(x, p["conv1.weight"], 2, 3), p, "bn1"), 0)
    x = _pool_max(x, 3, 2, 1)
    for layer in (1, 2, 3, 4):
        for block in (0, 1):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            y = _convolve(x, p[f"{name}.conv1.weight"], stride, 1)
            y = np.maximum(_normalise(y, p, f"{name}.bn1"), 0)
            y = _normalise(_convolve(y, p[f"{name}.conv2.weight"], 1, 1), p, f"{name}.bn2")
            if f"{name}.downsample.0.weight" in p:
                x = _convolve(x, p[f"{name}.downsample.0.weight"], stride, 0)
                x = _normalise(x, p, f"{name}.downsample.1")
            x = np.maximum(x + y, 0)
    return x.mean((2, 3))


def _resnet18_state_dict():
    rng = np.random.default_rng(0)
    state_dict = {}

    def convolution(name, filters, channels, size):
        scale = np.sqrt(2 / (channels * size**2))
        state_dict[f"{name}.weight"] = scale * rng.standard_normal((filters, channels, size, size))

    def normalisation(name, filters):
        for part in ("weight", "bias", "running_mean"):
            state_dict[f"{name}.{part}"] = 0.1 * rng.standard_normal(filters) + (part == "weight")
        state_dict[f"{name}.running_var"] = rng.uniform(0.5, 2, filters)

    convolution("conv1", 64, 3, 7)
    normalisation("bn1", 64)
    channels = 64
    for layer, filters in enumerate((64, 128, 256, 512), 1):
        for block in (0, 1):
            name = f"layer{layer}.{block}"
            convolution(f"{name}.conv1", filters, channels, 3)
            convolution(f"{name}.conv2", filters, filters, 3)
            normalisation(f"{name}.bn1", filters)
            normalisation(f"{name}.bn2", filters)
            if channels != filters:
                convolution(f"{name}.downsample.0", filters, channels, 1)
                normalisation(f"{name}.downsample.1", filters)
            channels = filters
    state_dict["fc.weight"] = rng.standard_normal((1000, 512))
    state_dict["fc.bias"] = np.zeros(1000)
    return {name: array.astype(np.float32) for name, array in state_dict.items()}


@pytest.mark.parametrize("size", [64, 71])
def test_resnet18_equals_a_reference_in_numpy(size, tmp_path):
    state_dict = _resnet18_state_dict()
    counter = {"bn1.num_batches_tracked": tensor(np.array(7), "counter", "LongStorage")}
    tensors = {n: tensor(a, str(i)) for i, (n, a) in enumerate(state_dict.items())} | counter
    path = write_old(tmp_path / "resnet18.pth", tensors)
    images = np.random.default_rng(1).integers(0, 256, (2, size, size, 3))
    recipe, weights = make_recipe("resnet18", str(path), image_size=size)
    received = np.asarray(build_embedding_model(recipe, weights)(images.astype("float32")))
    scaled = ((images / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    expected = _resnet18(scaled, state_dict)
    greatest = np.abs(expected).max()
    assert 0.1 < greatest < 100
    assert np.abs(received - expected).max() <= 1e-4 * greatest


@pytest.mark.parametrize("side", [6, 7, 8, 9])
def test_squeezenet_pools_like_ceil_mode_where_rows_are_left_over_and_where_not(side):
    from pipeline.backbones.networks.torchvision_models import _pool_up

    maps = np.random.default_rng(0).standard_normal((1, side, side, 2)).astype("float32") - 9
    n_cells = math.ceil((side - 3) / 2) + 1
    received = np.asarray(_pool_up(maps, "pool"))
    assert received.shape == (1, n_cells, n_cells, 2)
    for row in range(n_cells):
        for column in range(n_cells):
            window = maps[0, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            np.testing.assert_array_equal(received[0, row, column], window.max((0, 1)))


@pytest.mark.parametrize(("size", "side"), [pytest.param(64, 1, marks=pytest.mark.slow), (96, 2)])
def test_alexnet_averages_maps_of_other_sizes_like_adaptive_pooling(size, side):
    backbone = get_backbone("alexnet")
    weights = resolve_weights(backbone, "random")

    def run(layer):
        model = build_backbone(backbone, weights, size, layer=layer, pooling="flatten")
        return tf.function(model)(images).numpy()  # as the embedder runs it

    images = np.random.default_rng(0).standard_normal((1, size, size, 3)).astype("float32")
    maps = run("pool5").reshape(side, side, 256)
    received = run("adaptive_pool").reshape(6, 6, 256)
    for row in range(6):
        for column in range(6):
            # From floor(i * size / 6) up to ceil((i + 1) * size / 6), as PyTorch has it.
            rows = slice(row * side // 6, -(-(row + 1) * side // 6))
            columns = slice(column * side // 6, -(-(column + 1) * side // 6))
            expected = maps[rows, columns].mean((0, 1))
            np.testing.assert_allclose(received[row, column], expected, rtol=1e-5, atol=1e-6)


# num_params, GFLOPS (multiplications with an addition) and min_size in torchvision's documentation.
@pytest.mark.parametrize(
    ("name", "n_parameters", "gigaflops", "least"),
    [
        ("alexnet", 61_100_840, 0.71, 63),
        ("squeezenet1_0", 1_248_424, 0.82, 21),
        ("squeezenet1_1", 1_235_496, 0.35, 17),
        ("resnet18", 11_689_512, 1.81, 1),
    ],
)
def test_sizes_are_those_that_torchvision_publishes(name, n_parameters, gigaflops, least):
    from pipeline.backbones.multiply_adds import count_multiply_adds

    model = NETWORKS[name](classifier_activation=None)
    trainable = sum(np.prod(weight.shape) for weight in model.trainable_weights)
    assert trainable == n_parameters
    assert count_multiply_adds(model) == pytest.approx(gigaflops * 1e9, rel=0.01)
    backbone = get_backbone(name)
    weights = resolve_weights(backbone, "random")
    smallest = build_backbone(backbone, weights, least)
    assert smallest.output_shape == (None, backbone.n_features)
    if least > 1:
        with pytest.raises(BackboneError, match=f"{least - 1} x {least - 1} pixels"):
            build_backbone(backbone, weights, least - 1)


@pytest.mark.slow
def test_the_classifier_is_a_layer_like_any_other_where_the_file_has_it(tmp_path):
    tensors = {n: tensor(a, str(i)) for i, (n, a) in enumerate(_state_dict("alexnet").items())}
    path = write_zip(tmp_path / "alexnet.pth", tensors)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3)).astype("float32")

    def features(layer, pooling="none"):
        recipe, weights = make_recipe("alexnet", str(path), layer=layer, pooling=pooling)
        return np.asarray(build_embedding_model(recipe, weights)(pixels))

    fc6, fc7, scores = features("fc6"), features("top", "avg"), features("predictions")
    state_dict = _state_dict("alexnet")

    def dense(x, name):
        return x @ state_dict[f"{name}.weight"].T + state_dict[f"{name}.bias"]

    np.testing.assert_allclose(fc7, np.maximum(dense(fc6, "classifier.4"), 0), atol=1e-3)
    exponents = np.exp(dense(fc7, "classifier.6"))
    np.testing.assert_allclose(scores, exponents / exponents.sum(1, keepdims=True), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda d: d.pop("features.0.bias"), r"1 missing: features\.0\.bias"),
        (lambda d: d.update(other=np.zeros(1)), "1 not expected: other"),
        (
            lambda d: d.update({"features.3.squeeze.weight": np.zeros((16, 64, 3, 3))}),
            r"features\.3\.squeeze\.weight \(16, 64, 3, 3\) instead of \(16, 64, 1, 1\)",
        ),
    ],
)
def test_a_checkpoint_that_does_not_fit_names_the_tensors(change, what):
    state_dict = _state_dict("squeezenet1_1")
    change(state_dict)
    with pytest.raises(WeightsError, match=what):
        load_state_dict(SqueezeNet1_1(include_top=False), state_dict)


def test_the_checkpoint_of_the_sister_network_is_refused(tmp_path):
    tensors = {
        n: tensor(a, str(i)) for i, (n, a) in enumerate(_state_dict("squeezenet1_0").items())
    }
    path = write_zip(tmp_path / "squeezenet.pth", tensors)
    photos = make_photos(tmp_path / "photos", n_per_class=1)
    outcome = call("extract", photos, "--backbone", "squeezenet1_1", "--weights", path)
    assert outcome.exit_code == 1
    assert "does not fit --backbone squeezenet1_1" in outcome.stderr
    assert "of another shape" in outcome.stderr


def test_alexnets_one_row_cannot_be_pooled_by_maximum():
    backbone = get_backbone("alexnet")
    with pytest.raises(BackboneError, match=r"one row already.*pool5"):
        build_backbone(backbone, resolve_weights(backbone, "random"), 64, pooling="max")
