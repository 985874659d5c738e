"""AlexNet, SqueezeNet and ResNet-18 as Keras models that give what torchvision's give.

Keras has none of them. Padding, pooling and the order in which a feature map is flattened follow
PyTorch, so that torchvision's checkpoints fit. Source: https://github.com/pytorch/vision, in
torchvision/models: alexnet.py, squeezenet.py, resnet.py.
"""

import re
from typing import Any

import numpy as np

from pipeline.backbones.weights.state_dicts import assign_state_dict
from pipeline.system.keras_on_tensorflow import keras

# Side of the feature map on which AlexNet's first dense layer works, in cells.
ALEXNET_MAP = 6
# Squeeze filters of SqueezeNet's modules; each of the two expand convolutions has four times as
# many. `pool` halves the map.
FIRE_1_0 = (16, 16, 32, "pool", 32, 48, 48, 64, "pool", 64)
FIRE_1_1 = (16, 16, "pool", 32, 32, "pool", 48, 48, 64, 64)
# Where torchvision's `features` have the modules, by their number in the paper.
FIRE_INDICES = {
    "squeezenet1_0": {2: 3, 3: 4, 4: 5, 5: 7, 6: 8, 7: 9, 8: 10, 9: 12},
    "squeezenet1_1": {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12},
}
RESNET18_FILTERS = (64, 128, 256, 512)
ALEXNET_NAMES = {
    "conv1": "features.0",
    "conv2": "features.3",
    "conv3": "features.6",
    "conv4": "features.8",
    "conv5": "features.10",
    "fc6": "classifier.1",
    "fc7": "classifier.4",
    "predictions": "classifier.6",
}


def AlexNet(  # noqa: N802 - these are named and called like the functions of keras.applications
    *,
    include_top: bool = True,
    weights: None = None,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
) -> keras.Model:
    """Builds AlexNet, in the version of "One weird trick", with random weights.

    Args:
        include_top: add the last dense layer.
        weights: only None; see `load_state_dict` for others.
        input_shape: height, width, channels of the input: RGB 0..1, standardised.
        pooling: None or `avg`, which are the same: the features are one row in any case.
        classes: number of classes.
        classifier_activation: None for logits.

    Returns:
        A functional model to `(n, classes)`, or to fc7 after its ReLU, `(n, 4096)`.

    Raises:
        ValueError: if an argument is none of these, or the images are too small.
    """
    _require_random(weights)
    if pooling not in (None, "avg"):
        raise ValueError(
            f"AlexNet's features are one row already, with nothing to pool. Expected pooling avg. "
            f"Received: pooling={pooling!r}. A feature map is at the layer pool5"
        )
    inputs = keras.Input(input_shape)
    x = _convolve(inputs, 64, 11, "conv1", stride=4, padding=2, activation="relu")
    x = keras.layers.MaxPooling2D(3, 2, name="pool1")(x)
    x = _convolve(x, 192, 5, "conv2", padding=2, activation="relu")
    x = keras.layers.MaxPooling2D(3, 2, name="pool2")(x)
    x = _convolve(x, 384, 3, "conv3", padding=1, activation="relu")
    x = _convolve(x, 256, 3, "conv4", padding=1, activation="relu")
    x = _convolve(x, 256, 3, "conv5", padding=1, activation="relu")
    x = keras.layers.MaxPooling2D(3, 2, name="pool5")(x)
    if tuple(x.shape[1:3]) != (ALEXNET_MAP, ALEXNET_MAP):
        if x.shape[1:3] == (1, 1):
            # One cell is repeated; Keras's layer wants two of them when it runs in a graph.
            x = keras.layers.UpSampling2D(ALEXNET_MAP, name="adaptive_pool")(x)
        else:
            x = keras.layers.AdaptiveAveragePooling2D(ALEXNET_MAP, name="adaptive_pool")(x)
    # PyTorch flattens channel by channel.
    x = keras.layers.Permute((3, 1, 2), name="channels_first")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    for name in ("fc6", "fc7"):
        x = keras.layers.Dropout(0.5, name=f"{name}_dropout")(x)
        x = keras.layers.Dense(4096, "relu", kernel_initializer="he_normal", name=name)(x)
    if include_top:
        x = keras.layers.Dense(classes, activation=classifier_activation, name="predictions")(x)
    return keras.Model(inputs, x, name="alexnet")


def SqueezeNet1_0(**arguments: Any) -> keras.Model:  # noqa: N802
    """Builds SqueezeNet 1.0 with random weights; arguments as for `ResNet18`."""
    return _squeezenet("squeezenet1_0", (96, 7), FIRE_1_0, **arguments)


def SqueezeNet1_1(**arguments: Any) -> keras.Model:  # noqa: N802
    """Builds SqueezeNet 1.1 with random weights; arguments as for `ResNet18`."""
    return _squeezenet("squeezenet1_1", (64, 3), FIRE_1_1, **arguments)


def ResNet18(  # noqa: N802
    *,
    include_top: bool = True,
    weights: None = None,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
) -> keras.Model:
    """Builds ResNet-18 with random weights; its layers are named like those of Keras's ResNet50.

    Args:
        include_top: add average pooling and the classifier.
        weights: only None; see `load_state_dict` for others.
        input_shape: height, width, channels of the input: RGB 0..1, standardised.
        pooling: without the top, `avg`, `max`, or None for the last feature map.
        classes: number of classes.
        classifier_activation: None for logits.

    Returns:
        A functional model to `(n, classes)`, `(n, 512)` or `(n, height / 32, width / 32, 512)`.

    Raises:
        ValueError: if `weights` is not None.
    """
    _require_random(weights)
    inputs = keras.Input(input_shape)
    x = _convolve_and_normalise(inputs, 64, 7, "conv1", stride=2, padding=3)
    x = keras.layers.ReLU(name="conv1_relu")(x)
    # What is pooled is never negative, so zeros can stand for PyTorch's minus infinity.
    x = keras.layers.ZeroPadding2D(1, name="pool1_pad")(x)
    x = keras.layers.MaxPooling2D(3, 2, name="pool1_pool")(x)
    for stage, filters in enumerate(RESNET18_FILTERS):
        for block in (1, 2):
            stride = 2 if stage > 0 and block == 1 else 1
            x = _basic_block(x, filters, stride, f"conv{stage + 2}_block{block}")
    x = _pool(x, "avg" if include_top else pooling)
    if include_top:
        x = keras.layers.Dense(classes, activation=classifier_activation, name="predictions")(x)
    return keras.Model(inputs, x, name="resnet18")


def load_state_dict(model: keras.Model, state_dict: dict[str, np.ndarray]) -> None:
    """Sets the weights from a state dict of torchvision.

    Args:
        model: what a function of this module built.
        state_dict: name to array, such as `features.0.weight`. The classifier's tensors are left
            out where the model has none.

    Raises:
        WeightsError: if a tensor is missing, extra, or of another shape.
    """
    names = {layer.name for layer in model.layers}
    if model.name == "alexnet":
        prefixes, classifier = ALEXNET_NAMES, "classifier.6"
    elif model.name == "resnet18":
        prefixes, classifier = {name: _resnet_name(name) for name in names}, "fc"
    else:
        prefixes = {"conv1": "features.0", "top_conv": "classifier.1"}
        for number, index in FIRE_INDICES[model.name].items():
            for part in ("squeeze", "expand1x1", "expand3x3"):
                prefixes[f"fire{number}_{part}"] = f"features.{index}.{part}"
        classifier = "classifier"
    has_top = "predictions" in names
    assign_state_dict(model, state_dict, prefixes, ignored=[] if has_top else [classifier])


def _resnet_name(name: str) -> str:
    """`conv3_block1_2_conv` to `layer2.0.conv2`: block and stage count from 1 and 2 here."""
    if match := re.fullmatch(r"conv(\d)_block(\d)_([012])_(conv|bn)", name):
        stage, block, number, kind = match.groups()
        part = f"{kind}{number}" if number != "0" else f"downsample.{'01'[kind == 'bn']}"
        return f"layer{int(stage) - 1}.{int(block) - 1}.{part}"
    return {"conv1_conv": "conv1", "conv1_bn": "bn1", "predictions": "fc"}.get(name, name)


def _squeezenet(
    name: str,
    first: tuple[int, int],
    modules: tuple,
    *,
    include_top: bool = True,
    weights: None = None,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    pooling: str | None = None,
    classes: int = 1000,
    classifier_activation: str | None = "softmax",
) -> keras.Model:
    _require_random(weights)
    inputs = keras.Input(input_shape)
    filters, kernel_size = first
    x = _convolve(inputs, filters, kernel_size, "conv1", stride=2, activation="relu")
    x = _pool_up(x, "pool1")
    number = 2
    for squeeze in modules:
        if squeeze == "pool":
            x = _pool_up(x, f"pool{number - 1}")
        else:
            x = _fire(x, squeeze, f"fire{number}")
            number += 1
    if include_top:
        x = keras.layers.Dropout(0.5, name="top_dropout")(x)
        x = _convolve(x, classes, 1, "top_conv", activation="relu")
        x = keras.layers.GlobalAveragePooling2D(name="top_pool")(x)
        x = keras.layers.Activation(classifier_activation or "linear", name="predictions")(x)
    else:
        x = _pool(x, pooling)
    return keras.Model(inputs, x, name=name)


def _fire(x: keras.KerasTensor, squeeze: int, name: str) -> keras.KerasTensor:
    """Squeeze to few channels, expand by 1x1 and 3x3 filters side by side."""
    x = _convolve(x, squeeze, 1, f"{name}_squeeze", activation="relu")
    small = _convolve(x, 4 * squeeze, 1, f"{name}_expand1x1", activation="relu")
    large = _convolve(x, 4 * squeeze, 3, f"{name}_expand3x3", padding=1, activation="relu")
    return keras.layers.Concatenate(name=f"{name}_concat")([small, large])


def _pool_up(x: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Max pooling 3x3, stride 2, that rounds the number of cells up: PyTorch's `ceil_mode`.

    A row or column is left over only where the side is even; "same" then adds one at the end.
    """
    height, width = x.shape[1:3]
    if height != width:
        raise ValueError(f"The images must be square. Received a map of {height} x {width}")
    return keras.layers.MaxPooling2D(3, 2, padding="valid" if height % 2 else "same", name=name)(x)


def _basic_block(x: keras.KerasTensor, filters: int, stride: int, name: str) -> keras.KerasTensor:
    """Two 3x3 convolutions and a way round them."""
    shortcut = x
    if stride > 1 or x.shape[-1] != filters:
        shortcut = _convolve_and_normalise(x, filters, 1, f"{name}_0", stride=stride)
    x = _convolve_and_normalise(x, filters, 3, f"{name}_1", stride=stride, padding=1)
    x = keras.layers.ReLU(name=f"{name}_1_relu")(x)
    x = _convolve_and_normalise(x, filters, 3, f"{name}_2", padding=1)
    x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return keras.layers.ReLU(name=f"{name}_out")(x)


def _convolve_and_normalise(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    name: str,
    stride: int = 1,
    padding: int = 0,
) -> keras.KerasTensor:
    x = _convolve(x, filters, kernel_size, f"{name}_conv", stride, padding, use_bias=False)
    # PyTorch's momentum of 0.1 is the share of the new, Keras's is that of the old.
    return keras.layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}_bn")(x)


def _convolve(
    x: keras.KerasTensor,
    filters: int,
    kernel_size: int,
    name: str,
    stride: int = 1,
    padding: int = 0,
    activation: str | None = None,
    use_bias: bool = True,
) -> keras.KerasTensor:
    """A convolution with so many rows and columns of zeros on every side, as PyTorch counts."""
    is_same = stride == 1 and padding == kernel_size // 2
    if padding and not is_same:
        x = keras.layers.ZeroPadding2D(padding, name=f"{name.removesuffix('_conv')}_pad")(x)
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        stride,
        padding="same" if is_same else "valid",
        activation=activation,
        use_bias=use_bias,
        kernel_initializer="he_normal",
        name=name,
    )(x)


def _pool(x: keras.KerasTensor, pooling: str | None) -> keras.KerasTensor:
    if pooling == "avg":
        return keras.layers.GlobalAveragePooling2D(name="avg_pool")(x)
    if pooling == "max":
        return keras.layers.GlobalMaxPooling2D(name="max_pool")(x)
    return x


def _require_random(weights: None) -> None:
    if weights is not None:
        raise ValueError(f"weights must be None; load a state dict. Received: weights={weights!r}")
