"""Frost lines: the places in a backbone where one tensor carries everything, and thawing above one.

They are found in the layer graph, not typed in by hand; only their names come from layer names.
A line is named by the block above it: to thaw from `block7a` is to train `block7a` and all above.
"""

import math
import re
from dataclasses import dataclass

import keras

from pipeline.errors import BackboneError

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
    return [line for line, _, _ in _find_lines(model)]


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
    if name == "all":
        above = set(model.layers)
    else:
        _, _, above = _line_named(model, name)
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
    _, tensor, _ = _line_named(model, name)
    return (
        keras.Model(model.inputs[0], tensor, name="trunk"),
        keras.Model(tensor, model.outputs[0], name="top"),
    )


def count_multiply_adds(model: keras.Model) -> int:
    """Counts the multiplications with an addition that one image costs.

    Convolutions and dense layers count, as in the published figures; biases, normalisation and
    activations do not.

    Args:
        model: a functional or sequential model whose image size is known.
    """
    return sum(
        _node_multiply_adds(node) for nodes in _nodes_by_depth(model).values() for node in nodes
    )


def _find_lines(model: keras.Model) -> list[tuple[FrostLine, object, set]]:
    """The frost lines from top to bottom, each with its tensor and the layers above."""
    nodes = [node for node in _nodes_in_order(model) if node.input_tensors]
    blocks = _name_blocks(_cut_into_segments(model, nodes))
    total = sum(_node_multiply_adds(node) for node in nodes)

    lines = []
    trainable, multiply_adds, above = 0, 0, set()
    for name, block in reversed(blocks):
        layers = {node.operation for node in block}
        trainable_here = sum(_count_trainable(layer) for layer in layers - above)
        trainable += trainable_here
        above |= layers
        multiply_adds += sum(_node_multiply_adds(node) for node in block)
        if trainable_here == 0:
            continue
        tensor = _incoming_tensor(block)
        shape = tuple(tensor.shape[1:])
        below = total - multiply_adds
        line = FrostLine(
            name=name,
            tensor_of=tensor._keras_history.operation.name,
            first_layers_above=tuple(
                node.operation.name
                for node in block
                if any(x is tensor for x in node.input_tensors)
            ),
            shape=shape,
            trainable_parameters_above=trainable,
            multiply_adds_below=below,
            share_below=below / total if total else 0.0,
            bytes_per_image=2 * math.prod(shape),
        )
        lines.append((line, tensor, set(above)))
    return lines


def _line_named(model, name):
    lines = _find_lines(model)
    for found in lines:
        if found[0].name == name:
            return found
    names = ", ".join(line.name for line, _, _ in lines)
    raise BackboneError(
        f"This backbone has no frost line {name!r}. Expected one of, from the top: {names}; or "
        f"all. Received: {name!r}."
    )


def _nodes_by_depth(model) -> dict:
    if isinstance(model, keras.Sequential):
        model = model._functional
    return model._nodes_by_depth


def _nodes_in_order(model) -> list:
    """The calls of layers, each after those whose outputs it takes."""
    by_depth = _nodes_by_depth(model)
    return [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]


def _cut_into_segments(model, nodes) -> list[list]:
    """Divides the nodes at every tensor that alone carries everything.

    Walks through the graph with the set of tensors that somebody still waits for; where there is
    just one, a segment ends. Any topological order finds every such tensor: a node is either below
    or above it, so all below are done, and none above, when the tensor is made.
    """
    n_waiting = {}
    for node in nodes:
        for tensor in node.input_tensors:
            n_waiting[id(tensor)] = n_waiting.get(id(tensor), 0) + 1
    for tensor in model.outputs:
        n_waiting[id(tensor)] = n_waiting.get(id(tensor), 0) + 1

    open_tensors = {id(tensor) for tensor in model.inputs}
    segments, segment = [], []
    for node in nodes:
        segment.append(node)
        for tensor in node.input_tensors:
            n_waiting[id(tensor)] -= 1
            if n_waiting[id(tensor)] == 0:
                open_tensors.discard(id(tensor))
        open_tensors |= {id(tensor) for tensor in node.output_tensors if id(tensor) in n_waiting}
        if len(open_tensors) == 1:
            segments.append(segment)
            segment = []
    return segments


def _name_blocks(segments: list[list]) -> list[tuple[str, list]]:
    """Joins neighbouring segments of one block, from the bottom to the top.

    A segment whose layers have no block's name is a block of its own if it can be trained and
    branches (Inception's `mixed3`) or is made of layers (`vit_encoder`): the layer that closes it
    names it. Otherwise it belongs to the block below, or to the `stem` before the first block;
    after the last one it is the `top`.
    """
    labels = []
    for segment in segments:
        label = _common_label(segment)
        if (
            label is None
            and (len(segment) > 1 or _is_composite(segment[0].operation))
            and any(_count_trainable(n.operation) for n in segment)
        ):
            label = segment[-1].operation.name
        labels.append(label)
    last_block = max((i for i, label in enumerate(labels) if label), default=-1)

    blocks, used = [], set()
    for i, (segment, label) in enumerate(zip(segments, labels, strict=True)):
        if label is None and i > last_block:
            name = "top"
        elif label is None:
            name = blocks[-1][0] if blocks else "stem"
        else:
            name = label
        if blocks and (blocks[-1][0] == name or name in used):
            blocks[-1][1].extend(segment)
            continue
        used.add(name)
        blocks.append((name, list(segment)))
    return blocks


def _common_label(segment: list) -> str | None:
    labels = [label for node in segment if (label := _label(node.operation.name))]
    return max(labels, key=labels.count) if labels else None


def _label(layer_name: str) -> str | None:
    for pattern, name in BLOCK_NAMES:
        if match := re.match(pattern, layer_name):
            return match.expand(name)
    return None


def _incoming_tensor(block: list):
    """The one tensor that a block takes from below."""
    made_here = {id(tensor) for node in block for tensor in node.output_tensors}
    return next(x for node in block for x in node.input_tensors if id(x) not in made_here)


def _count_trainable(layer) -> int:
    """Parameters that thawing the layer trains, whatever is frozen at the moment."""
    if not isinstance(layer, keras.Layer):
        return 0
    return sum(
        math.prod(weight.shape)
        for inner in layer._flatten_layers()
        if not isinstance(inner, keras.layers.BatchNormalization)
        for weight in inner._trainable_variables
    )


def _set_trainable(layer, trainable: bool) -> None:
    layer.trainable = trainable
    if isinstance(layer, keras.Layer):
        for inner in layer._flatten_layers():
            if isinstance(inner, keras.layers.BatchNormalization):
                inner.trainable = False


def _node_multiply_adds(node) -> int:
    """Work of one call of a layer, for one image, from the shapes of its weights and output."""
    layer = node.operation
    if isinstance(layer, keras.Model):
        return count_multiply_adds(layer)
    # Positions at which a kernel is applied; the kernel's own axes hold the rest.
    n_positions = math.prod(node.output_tensors[0].shape[1:-1])
    kernels = {
        keras.layers.Dense: ("kernel",),
        keras.layers.Conv2D: ("kernel",),
        keras.layers.DepthwiseConv2D: ("kernel",),
        keras.layers.SeparableConv2D: ("depthwise_kernel", "pointwise_kernel"),
    }
    for kind, names in kernels.items():
        if isinstance(layer, kind):
            return n_positions * sum(math.prod(getattr(layer, name).shape) for name in names)
    if _is_composite(layer):
        # A transformer's encoder, say. The products of tokens with each other are left out.
        kernels = [weight for weight in layer.weights if weight.path.endswith("/kernel")]
        return n_positions * sum(math.prod(kernel.shape) for kernel in kernels)
    return 0


def _is_composite(layer) -> bool:
    """Whether it is made of layers, without being a model whose graph can be looked into."""
    if not isinstance(layer, keras.Layer) or isinstance(layer, keras.Model):
        return False
    return any(inner.weights for inner in layer._flatten_layers(include_self=False))
