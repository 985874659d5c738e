"""SiLU, hard SiLU and GELU as a CPU trains them fastest: in one pass, and their gradient in one.

TensorFlow takes a pass through memory for each product and sum in them, and in bfloat16 converts
there and back in each. XLA makes one loop of all, which computes in float32. (The other layers are
left to TensorFlow: XLA's gradients of convolutions take many times as long.) `docs/fine-tuning.md`
has what that brings.
"""

import sys
from typing import Any

import tensorflow as tf

from pipeline.system.keras_on_tensorflow import keras

# Not every TensorFlow has XLA for CPUs; those for Linux have.
_HAS_XLA = sys.platform == "linux"
# Without gradients TensorFlow joins these to the convolution before them, which is faster still.
_JOINED_IN_PREDICTION = (keras.activations.silu, keras.activations.hard_silu)
_OF_MANY_PASSES = (*_JOINED_IN_PREDICTION, keras.activations.gelu)


def is_fusible(layer: keras.Layer) -> bool:
    """Whether a layer is nothing but an activation that is faster in one pass."""
    return (
        _HAS_XLA
        and layer.__class__ is keras.layers.Activation
        and layer.activation in _OF_MANY_PASSES
        and layer.activity_regularizer is None
        and layer.compute_dtype != "float64"  # which a loop in float32 would round
    )


class FusedActivation(keras.layers.Layer):
    """What an activation layer computes, in the layer's precision, rounded once in training."""

    def __init__(self, layer: keras.layers.Activation):
        super().__init__(dtype=layer.dtype_policy)
        self._activation = activation = layer.activation
        self._is_joined = activation in _JOINED_IN_PREDICTION

        @tf.function(jit_compile=True, autograph=False)
        def activate(x: tf.Tensor) -> tf.Tensor:
            return tf.cast(activation(tf.cast(x, tf.float32)), x.dtype)

        @tf.function(jit_compile=True, autograph=False)
        def find_gradient(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
            x_32 = tf.cast(x, tf.float32)
            with tf.GradientTape() as tape:
                tape.watch(x_32)
                y = activation(x_32)
            return tf.cast(tape.gradient(y, x_32, tf.cast(upstream, tf.float32)), x.dtype)

        @tf.custom_gradient
        def compute(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
            return activate(x), lambda upstream: find_gradient(x, upstream)

        self._compute = compute

    def call(self, x: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        if self._is_joined and not training:
            return self._activation(x)
        return self._compute(x)
