"""Putting a PyTorch state dict into a Keras model, tensor by tensor, by name.

The names of the two sides are matched by a plain dict; every tensor is accounted for, so that a
state dict of another network is refused instead of half loaded.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import WeightsError

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras


def assign_state_dict(
    model: "keras.Model",
    state_dict: dict[str, np.ndarray],
    prefixes: dict[str, str],
    ignored: Iterable[str] = (),
) -> None:
    """Sets the weights of a Keras model from a PyTorch state dict.

    Args:
        model: a built Keras model of Conv2D, DepthwiseConv2D, Dense and BatchNormalization
            layers.
        state_dict: name to array, in PyTorch's shapes.
        prefixes: Keras layer name to what its tensors' names start with, such as
            `{"stem_conv": "_conv_stem"}` for `_conv_stem.weight`.
        ignored: prefixes whose tensors may be there and are not used, such as a classifier's.

    Raises:
        WeightsError: naming the tensors that are missing, extra, of another shape, or hold other
            things than finite floating-point numbers. The model is then unchanged.
    """
    values: dict[str, list[str]] = {}
    expected: dict[str, tuple[int, ...]] = {}
    for layer in model.layers:
        if not layer.weights:
            continue
        names = [f"{prefixes[layer.name]}.{suffix}" for suffix in _suffixes(layer)]
        shapes = [_torch_shape(layer, weight) for weight in layer.weights]
        expected |= dict(zip(names, shapes, strict=True))
        values[layer.name] = names
    unused = tuple(f"{prefix}." for prefix in ignored)
    received = {
        name: array.shape
        for name, array in state_dict.items()
        if not name.startswith(unused) and not name.endswith(".num_batches_tracked")
    }
    _check(expected, received)
    for name in expected:
        _check_numbers(name, state_dict[name])
    for layer_name, names in values.items():
        layer = model.get_layer(layer_name)
        layer.set_weights([_to_keras(layer, state_dict[name]) for name in names])


def _check(expected: dict[str, tuple[int, ...]], received: dict[str, tuple[int, ...]]) -> None:
    missing = [name for name in expected if name not in received]
    extra = [name for name in received if name not in expected]
    misshapen = [
        f"{name} {received[name]} instead of {shape}"
        for name, shape in expected.items()
        if name in received and received[name] != shape
    ]
    problems = [
        f"{len(names)} {what}: {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}"
        for what, names in (
            ("missing", missing),
            ("not expected", extra),
            ("of another shape", misshapen),
        )
        if names
    ]
    if problems:
        raise WeightsError(
            f"The state dict does not fit the network. Expected {len(expected)} tensors. "
            f"Received {len(received)}, of them {'; '.join(problems)}. "
            "Use the checkpoint of this very network, or another `backbone`."
        )


def _check_numbers(name: str, array: np.ndarray) -> None:
    if array.dtype.kind != "f":
        raise WeightsError(
            f"The tensor {name} holds other things than weights. Expected: floating-point numbers. "
            f"Received: {array.dtype}. Quantized checkpoints cannot be used; take the float one."
        )
    # Also what float32 cannot hold; NaN is not below anything.
    if not (np.abs(array) <= np.finfo(np.float32).max).all():
        raise WeightsError(
            f"The tensor {name} is not finite. Expected: numbers. Received: NaN or infinity, "
            "perhaps from a training that went astray. Use an earlier checkpoint."
        )


def _suffixes(layer: "keras.Layer") -> list[str]:
    """PyTorch's names for the weights of a layer, in Keras's order."""
    if type(layer).__name__ == "BatchNormalization":
        return ["weight", "bias", "running_mean", "running_var"]
    return ["weight", "bias"][: len(layer.weights)]


def _torch_shape(layer: "keras.Layer", weight: "keras.Variable") -> tuple[int, ...]:
    shape = tuple(weight.shape)
    if len(shape) == 4:
        height, width, *channels = shape
        # Keras: (height, width, in / groups, out); depthwise (height, width, in, multiplier).
        if type(layer).__name__ == "DepthwiseConv2D":
            return (channels[0] * channels[1], 1, height, width)
        return (channels[1], channels[0], height, width)
    return shape[::-1]


def _to_keras(layer: "keras.Layer", array: np.ndarray) -> np.ndarray:
    """PyTorch's axis order to Keras's."""
    if array.ndim == 4:
        if type(layer).__name__ == "DepthwiseConv2D":
            # One filter per channel: (in, 1, height, width) to (height, width, in, 1).
            return array.transpose(2, 3, 0, 1)
        return array.transpose(2, 3, 1, 0)
    return array.T
