"""Activations in one pass: against what their definitions say, in values and gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, ndtr

from pipeline.finetuning.folded import fold

LAYERS = keras.layers
X = np.random.default_rng(0).normal(0, 3, (2, 5, 5, 4)).astype(np.float32)


def density(x):
    return np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)


# Value and derivative in float64.
DEFINITIONS = {
    "silu": (
        lambda x: x * expit(x),
        lambda x: expit(x) * (1 + x * (1 - expit(x))),
    ),
    "hard_silu": (
        lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
        lambda x: np.where(np.abs(x) < 3, x / 3 + 0.5, x > 0),
    ),
    "gelu": (
        lambda x: x * ndtr(x),
        lambda x: ndtr(x) + x * density(x),
    ),
}


def make_model(activation, dtype="float32", side=5):
    inputs = keras.Input((side, side, 4))
    return keras.Model(inputs, LAYERS.Activation(activation, dtype=dtype)(inputs))


def kinds(model):
    return [operation.__class__.__name__ for operation in fold(model).operations[1:]]


def run(model, x, upstream):
    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = model(x, training=True)
    return y, tape.gradient(y, x, tf.cast(upstream, y.dtype))


@pytest.mark.parametrize("name", DEFINITIONS)
def test_values_and_gradients_are_those_of_the_definition(name):
    model = make_model(name)
    assert kinds(model) == ["FusedActivation"]
    upstream = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)
    y, gradient = run(fold(model), X, upstream)
    value, derivative = (of(X.astype(np.float64)) for of in DEFINITIONS[name])
    np.testing.assert_allclose(y, value, atol=2e-6)
    np.testing.assert_allclose(gradient, derivative * upstream, atol=1e-5)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_bfloat16_rounds_once(name):
    model = fold(make_model(name, "mixed_bfloat16"))
    x = tf.cast(X, tf.bfloat16)
    y, gradient = run(model, x, np.ones_like(X))
    assert y.dtype == gradient.dtype == tf.bfloat16
    value, derivative = (of(tf.cast(x, tf.float64).numpy()) for of in DEFINITIONS[name])
    # Half the distance of two numbers of eight bits, and what float32 is off.
    for received, right in ((y, value), (gradient, derivative)):
        off = np.abs(tf.cast(received, tf.float64) - right)
        assert (off <= 2.0**-8 * np.abs(right) + 2e-6).all()


@pytest.mark.parametrize("name", DEFINITIONS)
def test_far_out_values_stay_finite(name):
    far = np.array([-1e30, -200, -30, 0, 30, 200, 1e30], np.float32)
    x = np.tile(far[:, np.newaxis, np.newaxis, np.newaxis], (1, 2, 2, 4))
    y, gradient = run(fold(make_model(name, side=2)), x, np.ones_like(x))
    np.testing.assert_allclose(y, np.maximum(x, 0), rtol=1e-6, atol=1e-5)
    middle = 0.5  # the slope of all three at 0
    right = np.where(x == 0, middle, x > 0)
    np.testing.assert_allclose(gradient, right, atol=1e-5)


@pytest.mark.parametrize("name", DEFINITIONS)
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_prediction_is_what_training_computes_but_for_rounding(name, dtype):
    model = fold(make_model(name, dtype))
    x = tf.cast(X, tf.as_dtype("bfloat16" if dtype == "mixed_bfloat16" else "float32"))
    trained, predicted = (tf.cast(model(x, training=one), tf.float32) for one in (True, False))
    np.testing.assert_allclose(predicted, trained, atol=0.05 if "16" in dtype else 1e-6)


def test_one_graph_serves_batches_of_every_size():
    model = fold(make_model("silu"))
    step = tf.function(
        lambda x: run(model, x, tf.ones_like(x)),
        input_signature=[tf.TensorSpec((None, 5, 5, 4))],
    )
    whole = step(X)
    for n in (1, 2):
        for some, all_of_it in zip(step(X[:n]), whole, strict=True):
            np.testing.assert_array_equal(some, all_of_it[:n])
    assert step.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("activation", ["relu6", "sigmoid", "linear", lambda x: 2 * x])
def test_other_activations_are_called_as_ever(activation):
    assert kinds(make_model(activation)) == ["Activation"]


def test_float64_is_not_rounded_to_float32():
    model = fold(make_model("silu", "float64"))
    x = X.astype(np.float64)
    y, _ = run(model, x, np.ones_like(x))
    np.testing.assert_allclose(y, DEFINITIONS["silu"][0](x), rtol=1e-12)


def test_an_activation_with_a_penalty_keeps_it():
    inputs = keras.Input((5, 5, 4))
    layer = LAYERS.Activation("silu", activity_regularizer=keras.regularizers.L2(1.0))
    assert kinds(keras.Model(inputs, layer(inputs))) == ["Activation"]
