"""EfficientNet-Lite as a Keras model, with layer names like those of Keras's EfficientNet.

Lite is EfficientNet without squeeze-and-excitation, with ReLU6 instead of swish, and with a stem,
a head, a first and a last stage that do not grow with the scale. Source:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite
"""

import math
from typing import Any

import numpy as np

from pipeline.backbones.weights.state_dicts import assign_state_dict
from pipeline.system.keras_on_tensorflow import keras

# kernel size, blocks, stride of the first block, expansion, filters out; for scale 1.
STAGES = (
    (3, 1, 1, 1, 16),
    (3, 2, 2, 6, 24),
    (5, 2, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (5, 3, 1, 6, 112),
    (5, 4, 2, 6, 192),
    (3, 1, 1, 6, 320),
)
STEM_FILTERS = 32
TOP_FILTERS = 1280
DROP_CONNECT_RATE = 0.2
TOP_DROPOUT_RATE = 0.2
BATCH_NORM = {"epsilon": 1e-3, "momentum": 0.99}
KERNEL_INITIALIZER = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2.0, "mode": "fan_out", "distribution": "truncated_normal"},
}


def EfficientNetLite0(**arguments: Any) -> keras.Model:  # noqa: N802 - as Keras names them
    """Builds EfficientNet-Lite0, for 224 pixels; see `_build` for the arguments."""
    return _build("efficientnet-lite0", width=1.0, depth=1.0, **arguments)


def EfficientNetLite1(**arguments: Any) -> keras.Model:  # noqa: N802
    """Builds EfficientNet-Lite1, for 240 pixels; see `_build` for the arguments."""
    return _build("efficientnet-lite1", width=1.0, depth=1.1, **arguments)


def EfficientNetLite2(**arguments: Any) -> keras.Model:  # noqa: N802
    """Builds EfficientNet-Lite2, for 260 pixels; see `_build` for the arguments."""
    return _build("efficientnet-lite2", width=1.1, depth=1.2, **arguments)


def load_state_dict(model: keras.Model, state_dict: dict[str, np.ndarray]) -> None:
    """Sets the weights from a state dict of the `efficientnet_lite_pytorch` package.

    Args:
        model: what a function of this module built.
        state_dict: name to array, such as `_blocks.0._depthwise_conv.weight`. The classifier's
            `_fc` is left out where the model has no top.

    Raises:
        WeightsError: if a tensor is missing, extra, or of another shape.
    """
    prefixes = {
        "stem_conv": "_conv_stem",
        "stem_bn": "_bn0",
        "top_conv": "_conv_head",
        "top_bn": "_bn1",
        "predictions": "_fc",
    }
    parts = {
        "expand_conv": "_expand_conv",
        "expand_bn": "_bn0",
        "dwconv": "_depthwise_conv",
        "bn": "_bn1",
        "project_conv": "_project_conv",
        "project_bn": "_bn2",
    }
    names = [layer.name for layer in model.layers]
    blocks = sorted({name.split("_")[0] for name in names if name.startswith("block")})
    for index, block in enumerate(blocks):
        for part, torch_part in parts.items():
            prefixes[f"{block}_{part}"] = f"_blocks.{index}.{torch_part}"
    ignored = [] if "predictions" in names else ["_fc"]
    assign_state_dict(model, state_dict, prefixes, ignored)


def _build(
    name: str,
    *,
    width: float,
    depth: float,
    include_top: bool = True,
    weights: None = None,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
) -> keras.Model:
    """Builds a network with randomly initialised weights.

    Args:
        name: name of the model.
        width: factor of the numbers of filters.
        depth: factor of the numbers of blocks.
        include_top: add average pooling, dropout and the classifier.
        weights: only None; see `load_state_dict` for others.
        input_shape: height, width, channels of the input: pixels after `(x - 127) / 128`.
        pooling: without the top, `avg`, `max`, or None for the last feature map.
        classes: number of classes of the classifier.
        classifier_activation: None for logits.

    Returns:
        A functional model from `(n, height, width, 3)` to `(n, classes)`, `(n, 1280)` or
        `(n, height / 32, width / 32, 1280)`.
    """
    if weights is not None:
        raise ValueError(f"weights must be None; load a state dict. Received: weights={weights!r}")
    inputs = keras.Input(input_shape)
    x = _last_feature_map(inputs, width=width, depth=depth)
    if include_top or pooling == "avg":
        x = keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    elif pooling == "max":
        x = keras.layers.GlobalMaxPooling2D(name="max_pool")(x)
    if include_top:
        x = keras.layers.Dropout(TOP_DROPOUT_RATE, name="top_dropout")(x)
        x = keras.layers.Dense(classes, activation=classifier_activation, name="predictions")(x)
    return keras.Model(inputs, x, name=name)


def _last_feature_map(
    inputs: keras.KerasTensor, *, width: float, depth: float
) -> keras.KerasTensor:
    """From preprocessed pixels to `(n, height / 32, width / 32, 1280)`."""
    x = _convolve(inputs, STEM_FILTERS, 3, 2, "stem_")
    x = keras.layers.ReLU(6.0, name="stem_activation")(x)

    repeats = [
        blocks if stage in (0, len(STAGES) - 1) else math.ceil(blocks * depth)
        for stage, (_, blocks, *_) in enumerate(STAGES)
    ]
    done, filters_in = 0, STEM_FILTERS
    for stage, (kernel_size, _, stride, expansion, filters) in enumerate(STAGES):
        filters_out = _scale_filters(filters, width)
        for repeat in range(repeats[stage]):
            x = _block(
                x,
                f"block{stage + 1}{chr(ord('a') + repeat)}_",
                kernel_size=kernel_size,
                stride=stride if repeat == 0 else 1,
                filters=filters_in * expansion,
                filters_out=filters_out,
                drop_rate=DROP_CONNECT_RATE * done / sum(repeats),
            )
            done, filters_in = done + 1, filters_out

    x = _convolve(x, TOP_FILTERS, 1, 1, "top_")
    return keras.layers.ReLU(6.0, name="top_activation")(x)


def _block(
    x: keras.KerasTensor,
    prefix: str,
    *,
    kernel_size: int,
    stride: int,
    filters: int,
    filters_out: int,
    drop_rate: float,
) -> keras.KerasTensor:
    """An inverted residual block: expand, filter each channel, project."""
    inputs = x
    if x.shape[-1] != filters:
        x = _convolve(x, filters, 1, 1, f"{prefix}expand_")
        x = keras.layers.ReLU(6.0, name=f"{prefix}expand_activation")(x)
    x = keras.layers.DepthwiseConv2D(
        kernel_size,
        stride,
        padding="same",
        use_bias=False,
        depthwise_initializer=KERNEL_INITIALIZER,
        name=f"{prefix}dwconv",
    )(x)
    x = keras.layers.BatchNormalization(**BATCH_NORM, name=f"{prefix}bn")(x)
    x = keras.layers.ReLU(6.0, name=f"{prefix}activation")(x)
    x = _convolve(x, filters_out, 1, 1, f"{prefix}project_")
    if stride == 1 and inputs.shape[-1] == filters_out:
        if drop_rate > 0:
            drop_connect = keras.layers.Dropout(
                drop_rate, noise_shape=(None, 1, 1, 1), name=f"{prefix}drop"
            )
            x = drop_connect(x)
        x = keras.layers.Add(name=f"{prefix}add")([x, inputs])
    return x


def _convolve(
    x: keras.KerasTensor, filters: int, kernel_size: int, stride: int, prefix: str
) -> keras.KerasTensor:
    x = keras.layers.Conv2D(
        filters,
        kernel_size,
        stride,
        padding="same",
        use_bias=False,
        kernel_initializer=KERNEL_INITIALIZER,
        name=f"{prefix}conv",
    )(x)
    return keras.layers.BatchNormalization(**BATCH_NORM, name=f"{prefix}bn")(x)


def _scale_filters(filters: int, width: float) -> int:
    """The nearest multiple of 8, at most 10% below."""
    scaled = filters * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded
