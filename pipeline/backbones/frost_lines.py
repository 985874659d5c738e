"""Frost lines: the places in a backbone where one tensor carries everything, and thawing above one.

They are found in the layer graph, not typed in by hand; only their names come from layer names.
A line is named by the block above it: to thaw from `block7a` is to train `block7a` and all above.
"""

import math
import re
from collections import Counter
from dataclasses import dataclass

from pipeline.backbones.keras_internals import flatten_layers, trainable_weights_when_thawed
from pipeline.backbones.layer_graph import (
    Call,
    LayerGraph,
    Tensor,
    find_keras_tensor,
    read_layer_graph,
)
from pipeline.backbones.multiply_adds import call_multiply_adds, is_made_of_layers
from pipeline.errors import BackboneError
from pipeline.system.keras_on_tensorflow import keras

# What the layers of one block have in common, family by family. The first match counts.
BLOCK_NAMES = (
    (r"(block\d+[a-z])_", r"\1"),  # EfficientNet: block7a_expand_conv
    (r"(conv\d+_block\d+)_", r"\1"),  # ResNet, DenseNet: conv5_block3_1_conv
    (r"(block\d+_\d+)_", r"\1"),  # InceptionResNetV2: block17_20_conv
    (r"(block\d+)_", r"\1"),  # VGG, Xception: block5_conv1
    (r"(stack\d+_block\d+)_", r"\1"),  # KerasHub's ResNet
    (r"(fire\d+)_", r"\1"),  # SqueezeNet
    (r"(conv[2-9]|fc\d+)$", r"\1"),  # AlexNet; the top of VGG
    (r"(block_\d+)_", r"\1"),  # MobileNetV2: block_16_expand
    (r"(expanded_conv(?:_\d+)?)_", r"\1"),  # MobileNetV2 and V3: expanded_conv_7_project
    (r"conv_(?:pad|dw|pw)_(\d+)", r"block_\1"),  # MobileNet: conv_dw_13_bn
    (r"convnext_\w+_(stage_\d+_block_\d+)_", r"\1"),
    (r"convnext_\w+_(downsampling_block_\d+)", r"\1"),
    (r"(pool\d+)_(?:bn|relu|conv|pool)$", r"\1"),  # DenseNet's transitions: pool4_conv
    (r"(?:top|post|head)_", "top"),
    (r"(?:stem|conv1|pool1)(?:_|$)", "stem"),
)


@dataclass(frozen=True)
class FrostLine:
    """A boundary between a frozen trunk and a thawed top.

    Args:
        name: the block above the line; `thaw` takes it.
        tensor_of: the layer whose output crosses the line.
        first_layers_above: names of the layers that take that output.
        shape: of the tensor, without the batch: `(height, width, channels)`.
        trainable_parameters_above: what thawing here trains, BatchNormalization left out.
        multiply_adds_below: work of the trunk for one image.
        share_below: the trunk's share of the backbone's multiply-adds, 0..1.
        bytes_per_image: to cache the tensor as float16.
    """

    name: str
    tensor_of: str
    first_layers_above: tuple[str, ...]
    shape: tuple[int, ...]
    trainable_parameters_above: int
    multiply_adds_below: int
    share_below: float
    bytes_per_image: int


def find_frost_lines(model: keras.Model) -> list[FrostLine]:
    """Finds a backbone's frost lines.

    Args:
        model: a functional model with one input and one output, as `build_backbone` makes it.

    Returns:
        The lines from the top to the bottom. Each has something to train above it that the line
        before has not.
    """
    return [found.line for found in _find_lines(read_layer_graph(model))]


def find_layers_by_line(model: keras.Model) -> dict[str, list[keras.Layer]]:
    """The layers between each frost line and the one above it, from the top down.

    Args:
        model: as for `find_frost_lines`.
    """
    layers_by_line: dict[str, list[keras.Layer]] = {}
    seen: set[keras.Operation] = set()
    for found in _find_lines(read_layer_graph(model)):
        layers_by_line[found.line.name] = [
            layer for layer in model.layers if layer in found.layers_above - seen
        ]
        seen |= found.layers_above
    return layers_by_line


def thaw(model: keras.Model, name: str) -> int:
    """Makes the layers above a frost line trainable, and freezes everything else.

    BatchNormalization stays frozen everywhere, which keeps it in inference mode: statistics of a
    small data set would undo what the backbone has learnt.

    Args:
        model: as for `find_frost_lines`.
        name: of a frost line, or `all` for the whole backbone.

    Returns:
        The number of trainable parameters.

    Raises:
        BackboneError: if there is no line of that name.
    """
    graph = read_layer_graph(model)
    above = model.layers if name == "all" else _line_named(graph, name).layers_above
    model.trainable = True
    for layer in model.layers:
        _set_trainable(layer, layer in above)
    return sum(math.prod(weight.shape) for weight in model.trainable_weights)


def split_at(model: keras.Model, name: str) -> tuple[keras.Model, keras.Model]:
    """Cuts a backbone at a frost line; the two parts share its layers.

    Args:
        model: as for `find_frost_lines`.
        name: of a frost line.

    Returns:
        The trunk, from the backbone's input to the tensor at the line, and the top, from there to
        the features.

    Raises:
        BackboneError: if there is no line of that name.
    """
    tensor = _tensor_at(model, name)
    return (
        keras.Model(model.inputs[0], tensor, name="trunk"),
        keras.Model(tensor, model.outputs[0], name="top"),
    )


def cut_between(model: keras.Model, lower: str, upper: str) -> keras.Model:
    """The part of a backbone from one frost line to another above it; it shares the layers.

    Args:
        model: as for `find_frost_lines`.

    Raises:
        BackboneError: if there is no line of one of these names.
    """
    return keras.Model(_tensor_at(model, lower), _tensor_at(model, upper), name="middle")


def _tensor_at(model: keras.Model, name: str) -> keras.KerasTensor:
    graph = read_layer_graph(model)
    return find_keras_tensor(model, graph, _line_named(graph, name).tensor)


@dataclass(frozen=True)
class _Found:
    """A frost line with the tensor that crosses it and the layers above it."""

    line: FrostLine
    tensor: Tensor
    layers_above: frozenset[keras.Operation]


def _find_lines(graph: LayerGraph) -> list[_Found]:
    """The frost lines from top to bottom."""
    blocks = _name_blocks(_cut_into_segments(graph))
    total = sum(call_multiply_adds(call) for call in graph.calls)

    lines = []
    trainable, multiply_adds = 0, 0
    above: set[keras.Operation] = set()
    for name, block in reversed(blocks):
        layers = {call.layer for call in block}
        trainable_here = sum(_count_trainable(layer) for layer in layers - above)
        trainable += trainable_here
        above |= layers
        multiply_adds += sum(call_multiply_adds(call) for call in block)
        if trainable_here == 0:
            continue
        crossing = _incoming_tensor(block)
        shape = graph.shapes[crossing]
        below = total - multiply_adds
        line = FrostLine(
            name=name,
            tensor_of=crossing[0],
            first_layers_above=tuple(call.layer.name for call in block if crossing in call.inputs),
            shape=shape,
            trainable_parameters_above=trainable,
            multiply_adds_below=below,
            share_below=below / total if total else 0.0,
            bytes_per_image=2 * math.prod(shape),
        )
        lines.append(_Found(line, crossing, frozenset(above)))
    return lines


def _line_named(graph: LayerGraph, name: str) -> _Found:
    lines = _find_lines(graph)
    for found in lines:
        if found.line.name == name:
            return found
    names = ", ".join(found.line.name for found in lines)
    raise BackboneError(
        f"This backbone has no frost line {name!r}. Expected one of, from the top: {names}; or "
        f"all. Received: {name!r}."
    )


def _cut_into_segments(graph: LayerGraph) -> list[list[Call]]:
    """Divides the calls at every tensor that alone carries everything.

    Walks through the graph with the set of tensors that somebody still waits for; where there is
    just one, a segment ends. Any topological order finds every such tensor: a call is either below
    or above it, so all below are done, and none above, when the tensor is made.
    """
    n_waiting = Counter(tensor for call in graph.calls for tensor in call.inputs)
    n_waiting.update(graph.outputs)

    open_tensors = set(graph.inputs)
    segments, segment = [], []
    for call in graph.calls:
        segment.append(call)
        for tensor in call.inputs:
            n_waiting[tensor] -= 1
            if n_waiting[tensor] == 0:
                open_tensors.discard(tensor)
        open_tensors |= set(call.outputs)
        if len(open_tensors) == 1:
            segments.append(segment)
            segment = []
    return segments


def _name_blocks(segments: list[list[Call]]) -> list[tuple[str, list[Call]]]:
    """Joins neighbouring segments of one block, from the bottom to the top.

    A segment whose layers have no block's name is a block of its own if it can be trained and
    branches (Inception's `mixed3`) or is made of layers (`vit_encoder`): the layer that closes it
    names it. Otherwise it belongs to the block below, or to the `stem` before the first block;
    after the last one it is the `top`.
    """
    labels = [_common_label(segment) or _own_label(segment) for segment in segments]
    last_block = max((i for i, label in enumerate(labels) if label), default=-1)

    blocks: list[tuple[str, list[Call]]] = []
    used: set[str] = set()
    for i, (segment, label) in enumerate(zip(segments, labels, strict=True)):
        if label is not None:
            name = label
        elif i > last_block:
            name = "top"
        else:
            name = blocks[-1][0] if blocks else "stem"
        if blocks and (blocks[-1][0] == name or name in used):
            blocks[-1][1].extend(segment)
            continue
        used.add(name)
        blocks.append((name, list(segment)))
    return blocks


def _common_label(segment: list[Call]) -> str | None:
    labels = [label for call in segment if (label := _label(call.layer.name))]
    return max(labels, key=labels.count) if labels else None


def _own_label(segment: list[Call]) -> str | None:
    is_block = len(segment) > 1 or is_made_of_layers(segment[0].layer)
    if is_block and any(_count_trainable(call.layer) for call in segment):
        return segment[-1].layer.name
    return None


def _label(layer_name: str) -> str | None:
    for pattern, name in BLOCK_NAMES:
        if match := re.match(pattern, layer_name):
            return match.expand(name)
    return None


def _incoming_tensor(block: list[Call]) -> Tensor:
    """The one tensor that a block takes from below."""
    made_here = {tensor for call in block for tensor in call.outputs}
    return next(tensor for call in block for tensor in call.inputs if tensor not in made_here)


def _count_trainable(layer: keras.Operation) -> int:
    """Parameters that thawing the layer trains, whatever is frozen at the moment."""
    if not isinstance(layer, keras.Layer):
        return 0
    return sum(
        math.prod(weight.shape)
        for inner in flatten_layers(layer)
        if not isinstance(inner, keras.layers.BatchNormalization)
        for weight in trainable_weights_when_thawed(inner)
    )


def _set_trainable(layer: keras.Layer, trainable: bool) -> None:
    layer.trainable = trainable
    for inner in flatten_layers(layer):
        if isinstance(inner, keras.layers.BatchNormalization):
            inner.trainable = False
