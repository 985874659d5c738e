"""A network as a CPU trains it fastest: what it computes stays the same, but for rounding.

Frozen BatchNormalization is folded into the kernel of the convolution before it, convolutions with
a group for each channel are depthwise ones, some gradients are computed by faster kernels, and
activations in one pass. In bfloat16 kernels are folded in float32 and then rounded.
`docs/fine-tuning.md` has what that brings.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from pipeline.finetuning.fused_activation import FusedActivation, is_fusible
from pipeline.system.keras_on_tensorflow import keras

Convolution: TypeAlias = keras.layers.Conv2D | keras.layers.DepthwiseConv2D
_Gradient: TypeAlias = Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]

# oneDNN's fast gradient of a depthwise kernel (`jit_dw`) takes none that is wider; what it does
# with those is two to three times slower than Eigen's.
_WIDEST_FOR_ONEDNN = 3
# Which oneDNN computes on a CPU.
_DTYPES = ("float32", "bfloat16")


def fold(model: keras.Model) -> keras.Model:
    """The same network, with the same layers and weights, for a CPU, in the precision that its
    layers have now.

    It trains and predicts; what it does not own are the weights: take those of `model`.

    Args:
        model: a functional model in channels-last order. What is trainable in it is settled:
            BatchNormalization that is thawed later stays in inference mode here.
    """
    convolved: dict[int, tuple[Convolution, keras.KerasTensor, keras.KerasTensor]] = {}

    def call(layer: keras.Layer, *inputs: Any, **settings: Any) -> Any:
        if _is_foldable_convolution(layer):
            output = FoldedConvolution(layer)(inputs[0])
            # The output is held, so that its id is not given to another one.
            convolved[id(output)] = (layer, inputs[0], output)
            return output
        if id(inputs[0]) in convolved and _is_foldable_norm(layer):
            convolution, x, _ = convolved[id(inputs[0])]
            if _is_linear(convolution):
                return FoldedConvolution(convolution, layer)(x)
        if is_fusible(layer):
            return FusedActivation(layer)(inputs[0])
        return layer(*inputs, **settings)

    plain = keras.Model(model.input, model.output)
    return keras.models.clone_model(plain, clone_function=lambda layer: layer, call_function=call)


class FoldedConvolution(keras.Operation):
    """A convolution, and the frozen BatchNormalization behind it, as one convolution.

    With s = gamma / sqrt(variance + epsilon): s (W x) + (beta - s mean) = (s W) x + shift.
    """

    def __init__(
        self, convolution: Convolution, norm: keras.layers.BatchNormalization | None = None
    ):
        super().__init__()
        self._convolution = convolution
        self._norm = norm

    def call(self, x: tf.Tensor) -> tf.Tensor:
        convolution = self._convolution
        is_depthwise = _is_depthwise(convolution)
        kernel = tf.convert_to_tensor(convolution.kernel)
        if is_depthwise:  # of a Conv2D: (height, width, 1, channels)
            kernel = tf.reshape(kernel, (*kernel.shape[:2], -1, 1))
        bias = tf.convert_to_tensor(convolution.bias) if convolution.use_bias else None
        if self._norm is not None:
            scale, shift = _scale_and_shift(self._norm)
            kernel = kernel * (scale[:, tf.newaxis] if is_depthwise else scale)
            bias = shift if bias is None else bias * scale + shift
        dtype = convolution.compute_dtype
        x, kernel = tf.cast(x, dtype), tf.cast(kernel, dtype)
        strides, padding = tuple(convolution.strides), convolution.padding.upper()
        if is_depthwise:
            x = _convolve_depthwise(x, kernel, strides, padding)
        elif kernel.shape[:2] == (1, 1) and strides == (1, 1):
            x = _convolve_pointwise(x, kernel)
        else:
            x = tf.nn.conv2d(x, kernel, strides, padding, dilations=convolution.dilation_rate)
        # Bias and ReLU behind it are what TensorFlow fuses with the convolution.
        x = x if bias is None else tf.nn.bias_add(x, tf.cast(bias, dtype))
        return convolution.activation(x)


def _scale_and_shift(norm: keras.layers.BatchNormalization) -> tuple[tf.Tensor, tf.Tensor]:
    """What BatchNormalization in inference mode multiplies each channel by, and then adds."""
    scale = tf.math.rsqrt(tf.convert_to_tensor(norm.moving_variance) + norm.epsilon)
    if norm.scale:
        scale *= tf.convert_to_tensor(norm.gamma)
    shift = -tf.convert_to_tensor(norm.moving_mean) * scale
    if norm.center:
        shift += tf.convert_to_tensor(norm.beta)
    return scale, shift


def _convolve_pointwise(x: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """A 1 x 1 convolution whose gradients are products of matrices.

    Args:
        x: (n, height, width, channels_in).
        kernel: (1, 1, channels_in, channels_out).
    """
    channels_in, channels_out = kernel.shape[2:]

    @tf.custom_gradient
    def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, _Gradient]:
        def find_gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            flat = tf.reshape(upstream, (-1, channels_out))
            of_x = tf.matmul(flat, kernel[0, 0], transpose_b=True)
            of_kernel = tf.matmul(tf.reshape(x, (-1, channels_in)), flat, transpose_a=True)
            return tf.reshape(of_x, tf.shape(x)), tf.reshape(of_kernel, kernel.shape)

        return tf.nn.conv2d(x, kernel, 1, "VALID"), find_gradients

    return convolve(x, kernel)


def _convolve_depthwise(
    x: tf.Tensor, kernel: tf.Tensor, strides: tuple[int, int], padding: str
) -> tf.Tensor:
    """A depthwise convolution whose gradients go by way of float32, and of Eigen, where oneDNN has
    no fast kernel: of the kernel if that is wide, in bfloat16 of the input if there are strides.

    With explicit padding TensorFlow does not hand it to oneDNN.

    Args:
        x: (n, height, width, channels).
        kernel: (height, width, channels, 1).
        padding: `SAME` or `VALID`.
    """
    steps = [1, *strides, 1]
    sides, sizes = x.shape[1:3], kernel.shape[:2]
    is_wide = sizes[1] > _WIDEST_FOR_ONEDNN and None not in sides
    is_slow_by_input = x.dtype == tf.bfloat16 and strides != (1, 1)
    if not is_wide and not is_slow_by_input:
        return tf.nn.depthwise_conv2d(x, kernel, steps, padding)

    @tf.custom_gradient
    def convolve(x: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, _Gradient]:
        def find_gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            dtype = tf.float32 if is_slow_by_input else x.dtype
            of_x = tf.nn.depthwise_conv2d_backprop_input(
                tf.shape(x), tf.cast(kernel, dtype), tf.cast(upstream, dtype), steps, padding
            )
            dtype = tf.float32 if is_wide else x.dtype
            of_kernel = tf.nn.depthwise_conv2d_backprop_filter(
                tf.cast(x, dtype),
                tf.shape(kernel),
                tf.cast(upstream, dtype),
                steps,
                _pad_explicitly(sides, sizes, strides, padding) if is_wide else padding,
            )
            return tf.cast(of_x, x.dtype), tf.cast(of_kernel, kernel.dtype)

        return tf.nn.depthwise_conv2d(x, kernel, steps, padding), find_gradients

    return convolve(x, kernel)


def _pad_explicitly(
    sides: Sequence[int], sizes: Sequence[int], strides: Sequence[int], padding: str
) -> list[tuple[int, int]]:
    """What `SAME` or `VALID` pads, before and behind along each axis of a batch of images."""
    pads = [
        _same_padding(*axis) if padding == "SAME" else (0, 0)
        for axis in zip(sides, sizes, strides, strict=True)
    ]
    return [(0, 0), *pads, (0, 0)]


def _same_padding(side: int, size: int, stride: int) -> tuple[int, int]:
    """Pixels that TensorFlow's `SAME` adds before and behind; an odd one goes behind."""
    total = max((-(-side // stride) - 1) * stride + size - side, 0)
    return total // 2, total - total // 2


def _is_foldable_convolution(layer: keras.Layer) -> bool:
    if layer.__class__ not in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D):
        return False
    if _is_depthwise(layer):
        is_plain = layer.strides[0] == layer.strides[1] and tuple(layer.dilation_rate) == (1, 1)
    else:
        is_plain = layer.__class__ is keras.layers.Conv2D and layer.groups == 1
    return (
        is_plain
        and layer.data_format == "channels_last"
        and layer.compute_dtype in _DTYPES
        and layer.activity_regularizer is None
    )


def _is_depthwise(layer: Convolution) -> bool:
    """Whether each channel has one kernel of its own; ConvNeXt has a Conv2D for that."""
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        return bool(layer.depth_multiplier == 1)
    return bool(1 < layer.groups == layer.filters and layer.kernel.shape[2] == 1)


def _is_foldable_norm(layer: keras.Layer) -> bool:
    return (
        layer.__class__ is keras.layers.BatchNormalization
        and not layer.trainable
        and layer.axis in (-1, 3)
        and layer.compute_dtype in _DTYPES
    )


def _is_linear(convolution: Convolution) -> bool:
    return convolution.activation is keras.activations.linear
