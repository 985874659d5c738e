"""The network as a CPU trains it: against plain Keras, in values, gradients and a whole step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.backbones.frost_lines import split_at, thaw
from pipeline.backbones.networks.efficientnet_lite import EfficientNetLite0
from pipeline.finetuning.folded import FoldedConvolution, fold
from pipeline.finetuning.network import Network, TrunkAndTop
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.replicas import Replicas
from tests.finetuning.test_training import build, thaw_classifier

LAYERS = keras.layers


def make_model(layers, side=9, channels=6):
    """A chain of layers with weights of order 1, BatchNormalization frozen."""
    inputs = keras.Input((side, side, channels))
    x = inputs
    for layer in layers:
        x = layer(x)
    model = keras.Model(inputs, x)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        layer.set_weights([rng.uniform(0.5, 1.5, value.shape) for value in layer.get_weights()])
        if isinstance(layer, LAYERS.BatchNormalization):
            layer.trainable = False
    return model


def run(model, weights, x):
    """The output, and the gradients of a weighted sum of it, by the input and by all weights."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        output = model(x, training=True)
        shares = np.random.default_rng(2).uniform(0.5, 1.5, output.shape).astype(np.float32)
        loss = tf.reduce_sum(output * shares)
    return [np.asarray(output), *map(np.asarray, tape.gradient(loss, [x, *weights]))]


def assert_same(model, folded):
    x = np.random.default_rng(1).normal(size=(3, *model.input_shape[1:])).astype(np.float32)
    weights = [variable.value for variable in model.trainable_variables]
    for expected, received in zip(run(model, weights, x), run(folded, weights, x), strict=True):
        np.testing.assert_allclose(received, expected, atol=1e-5 * np.abs(expected).max())


def folded_layers(model):
    return [layer for layer in fold(model).operations if isinstance(layer, FoldedConvolution)]


@pytest.mark.parametrize("size", [1, 3, 5, 7, (3, 5)])
@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("side", [8, 9])
def test_depthwise_convolution_has_kerass_gradients(size, strides, padding, side):
    layer = LAYERS.DepthwiseConv2D(size, strides, padding=padding, use_bias=size == 5)
    model = make_model([layer, LAYERS.BatchNormalization()], side)
    assert_same(model, fold(model))


@pytest.mark.parametrize("layer", [
    LAYERS.Conv2D(5, 1, use_bias=False),
    LAYERS.Conv2D(5, 1),
    LAYERS.Conv2D(5, 1, 2),
    LAYERS.Conv2D(5, 3, padding="same"),
    LAYERS.Conv2D(5, 3, 2, padding="same", use_bias=False),
    LAYERS.Conv2D(5, 3, dilation_rate=2),
    LAYERS.Conv2D(6, 7, groups=6, padding="same"),
    LAYERS.Conv2D(6, 3, 2, groups=6, use_bias=False),
])  # fmt: skip
@pytest.mark.parametrize("norm", [{}, {"scale": False}, {"center": False}])
def test_convolution_and_frozen_norm_are_one_with_kerass_gradients(layer, norm):
    layer = layer.__class__.from_config(layer.get_config())
    activation = LAYERS.Activation("swish")
    model = make_model([layer, LAYERS.BatchNormalization(**norm), activation])
    assert_same(model, fold(model))
    kinds = [operation.__class__.__name__ for operation in fold(model).operations]
    assert kinds == ["InputLayer", "FoldedConvolution", "FusedActivation"]


@pytest.mark.parametrize("layer", [
    LAYERS.Conv2D(5, 1, use_bias=False),
    LAYERS.Conv2D(5, 3, 2, padding="same"),
    LAYERS.DepthwiseConv2D(3, padding="same", use_bias=False),
    LAYERS.DepthwiseConv2D(5, 2, padding="same"),
])  # fmt: skip
def test_bfloat16_is_float32_to_three_digits_with_a_kernel_that_is_folded_first(layer):
    layers = [layer.__class__.from_config(layer.get_config()), LAYERS.BatchNormalization()]
    model = make_model([*layers, LAYERS.Activation("swish")])
    # A norm that undoes itself only before it is rounded: 1000 x, and 1 / 1000 of that.
    convolution, norm = model.layers[1:3]
    for variable in convolution.weights:
        variable.assign(1000 * variable)
    norm.moving_variance.assign(1e6 * norm.moving_variance)
    x = np.random.default_rng(1).normal(size=(3, 9, 9, 6)).astype(np.float32)
    weights = [variable.value for variable in model.trainable_variables]
    expected = run(model, weights, x)
    for one in model.layers[1:]:
        one.dtype_policy = "mixed_bfloat16"
    folded = fold(model)
    assert len([one for one in folded.operations if isinstance(one, FoldedConvolution)]) == 1
    assert folded(x).dtype == tf.bfloat16
    for right, received in zip(expected, run(folded, weights, x), strict=True):
        greatest = np.abs(right).max()
        np.testing.assert_allclose(received.astype(np.float32), right, atol=0.02 * greatest)


def test_whole_network_from_a_frost_line_has_kerass_gradients():
    network = EfficientNetLite0(include_top=False, pooling="avg", input_shape=(32, 32, 3))
    thaw(network, "block6a")
    for layer in network.layers:  # its kinks would turn a rounding into another gradient
        if isinstance(layer, LAYERS.ReLU):
            layer.max_value, layer.negative_slope = None, 1.0
        if isinstance(layer, LAYERS.Dropout):
            layer.rate = 0.0
    _, top = split_at(network, "block6a")
    assert_same(top, fold(top))
    assert len(folded_layers(top)) == 3 * 5 + 1
    assert not any(isinstance(layer, LAYERS.BatchNormalization) for layer in fold(top).layers)


def test_norm_that_learns_stays_as_it_is():
    model = make_model([LAYERS.Conv2D(5, 3), LAYERS.BatchNormalization()])
    model.layers[-1].trainable = True
    x = np.random.default_rng(1).normal(3, 2, (4, *model.input_shape[1:])).astype(np.float32)
    before = model.layers[-1].get_weights()
    expected = np.asarray(model(x, training=True))
    model.layers[-1].set_weights(before)
    np.testing.assert_allclose(fold(model)(x, training=True), expected, rtol=1e-4, atol=1e-5)


def test_norm_behind_an_activation_stays_as_it_is():
    model = make_model([LAYERS.Conv2D(5, 3, activation="tanh"), LAYERS.BatchNormalization()])
    assert_same(model, fold(model))


@pytest.mark.parametrize("layer", [
    LAYERS.Conv2D(6, 3, groups=2),
    LAYERS.Conv2D(12, 3, groups=6),
    LAYERS.Conv2D(6, 3, groups=6, dilation_rate=2),
    LAYERS.DepthwiseConv2D(3, depth_multiplier=2),
    LAYERS.DepthwiseConv2D(3, dilation_rate=2),
    LAYERS.Conv2D(4, 3, dtype="mixed_float16"),
])  # fmt: skip
def test_convolutions_of_other_kinds_are_called_as_ever(layer):
    model = make_model([layer])
    assert folded_layers(model) == []


def test_convolution_that_others_take_too_is_folded_for_the_norm_alone():
    inputs = keras.Input((9, 9, 6))
    x = LAYERS.Conv2D(5, 3)(inputs)
    model = keras.Model(inputs, LAYERS.Add()([LAYERS.BatchNormalization(trainable=False)(x), x]))
    assert_same(model, fold(model))


def test_folding_leaves_the_network_savable_and_its_weights_where_they_were(tmp_path):
    model = make_model([LAYERS.Conv2D(5, 3), LAYERS.BatchNormalization(), LAYERS.ReLU(6.0)])
    config = model.get_config()
    folded = fold(model)
    model.layers[1].kernel.assign(np.zeros(model.layers[1].kernel.shape))
    x = np.ones((1, 9, 9, 6), np.float32)
    np.testing.assert_allclose(folded(x), model(x), atol=1e-6)
    assert model.get_config() == config
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(x), model(x))


def test_a_step_on_a_cpu_trains_the_same_variables_to_the_same_values():
    x = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    y = np.eye(3, dtype=np.float32)[[0, 1, 2, 0]]
    results = []
    for replicas in (Replicas(None), Replicas(None, is_one_cpu=True)):
        model = build()
        thaw_classifier(model, "block7a")
        network = Network(model, "block7a", FinetuneOptions(batch_size=4), replicas=replicas)
        network.seed_dropout(0, 1)
        found = network.step(x, y, np.ones(4, np.float32), 0.001)
        names = [variable.path for variable in network.model.trainable_variables]
        results.append((found, names, network.weights, network.predict(x)))
    (loss, _), names, weights, probabilities = results[0]
    assert results[1][1] == names
    assert results[1][0][0] == pytest.approx(loss, rel=1e-5)
    np.testing.assert_allclose(results[1][3], probabilities, atol=1e-4)
    for name, expected, received in zip(names, weights, results[1][2], strict=True):
        # AdamW's first step is the rate in the direction of each gradient: one of about 0 may turn.
        is_same = np.isclose(received, expected, rtol=1e-4, atol=1e-5)
        assert is_same.mean() > 0.995, name


def test_one_graph_serves_batches_of_every_size(monkeypatch):
    calls = []
    call = TrunkAndTop.call
    monkeypatch.setattr(
        TrunkAndTop, "call", lambda *args, **kwargs: calls.append(1) or call(*args, **kwargs)
    )
    model = build()
    thaw_classifier(model, "block7a")
    network = Network(model, "block7a", FinetuneOptions(batch_size=4))
    n_before = len(calls)
    for n in (4, 4, 3, 1):
        x = np.full((n, 32, 32, 3), 100, np.float32)
        network.step(x, np.eye(3, dtype=np.float32)[np.arange(n) % 3], np.ones(n, np.float32), 1e-4)
        assert network.predict(x).shape == (n, 3)
    n_graphs = len(calls) - n_before
    assert n_graphs == 2  # of a step, of a prediction
