"""ONNX models as they come out of conversions that went wrong, each in one way.

Made from an exported model, whose first node casts `image` to float32, and whose last output is
`probabilities`.
"""

from collections.abc import Callable, Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Change = Callable[[onnx.ModelProto], None]
_Nodes = tuple[list[onnx.NodeProto], list[TensorProto]]  # and their constants


def alter(model: onnx.ModelProto, change: Change) -> onnx.ModelProto:
    """A copy of a model with a change."""
    copied = onnx.ModelProto()
    copied.CopyFrom(model)
    change(copied)
    onnx.checker.check_model(copied)
    return copied


def swap_columns(order: Sequence[int]) -> Change:
    """The model gives the probabilities in this order of the classes."""

    def change(model: onnx.ModelProto) -> None:
        _rename_output(model.graph, "probabilities", "in_order")
        model.graph.initializer.append(_constant("altered_order", np.array(order, np.int64)))
        model.graph.node.append(
            helper.make_node("Gather", ["in_order", "altered_order"], ["probabilities"], axis=1)
        )

    return change


def swap_labels(order: Sequence[int]) -> Change:
    """The names inside the file are in this order."""

    def change(model: onnx.ModelProto) -> None:
        entry = next(one for one in model.metadata_props if one.key == "labels.txt")
        names = entry.value.splitlines()
        entry.value = "".join(f"{names[place]}\n" for place in order)

    return change


def take_bgr(model: onnx.ModelProto) -> None:
    """Blue comes first."""
    _insert(model.graph, _gather("bgr", [2, 1, 0], axis=3))


def take_mirrored(model: onnx.ModelProto) -> None:
    """Left is right."""
    width = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    _insert(model.graph, _gather("mirrored", list(range(width))[::-1], axis=2))


def take_floats_to_1(model: onnx.ModelProto) -> None:
    """Floats 0..1 go in."""
    _take_floats(model.graph)
    _insert(model.graph, _arithmetic("Mul", 255))


def take_floats_from_minus_1(model: onnx.ModelProto) -> None:
    """Floats -1..1 go in."""
    _take_floats(model.graph)
    _insert(model.graph, _arithmetic("Mul", 127.5))
    _insert(model.graph, _arithmetic("Add", 1))  # comes first


def take_floats(model: onnx.ModelProto) -> None:
    """Floats 0..255 go in."""
    _take_floats(model.graph)


def scale_too_often(model: onnx.ModelProto) -> None:
    """uint8 go in, and are divided by 255 before the network, which does that itself."""
    _insert(model.graph, _arithmetic("Div", 255))


def take_channels_first(model: onnx.ModelProto) -> None:
    """(n, 3, height, width) goes in."""
    dims = model.graph.input[0].type.tensor_type.shape.dim
    height, width = dims[1].dim_value, dims[2].dim_value
    for place, length in enumerate((3, height, width), start=1):
        dims[place].dim_value = length

    def make(before: str, after: str) -> _Nodes:
        return [helper.make_node("Transpose", [before], [after], perm=[0, 2, 3, 1])], []

    _insert(model.graph, make)


def lose_softmax(model: onnx.ModelProto) -> None:
    """Scores come out."""
    last = next(node for node in model.graph.node if node.output[0] == "probabilities")
    if last.op_type != "Softmax":
        raise ValueError(f"Expected a Softmax at the end. Received: {last.op_type}")
    last.op_type = "Identity"
    del last.attribute[:]


def take_softmax_twice(model: onnx.ModelProto) -> None:
    """Probabilities go through another softmax."""
    _rename_output(model.graph, "probabilities", "once")
    model.graph.node.append(helper.make_node("Softmax", ["once"], ["probabilities"], axis=1))


def round_coarsely(model: onnx.ModelProto) -> None:
    """Probabilities are rounded to two digits, as few bits do to them."""
    _rename_output(model.graph, "probabilities", "fine")
    for name, factor in (("hundred", 100), ("hundredth", 0.01)):
        model.graph.initializer.append(_constant(name, np.array(factor, np.float32)))
    model.graph.node.extend(
        [
            helper.make_node("Mul", ["fine", "hundred"], ["percent"]),
            helper.make_node("Round", ["percent"], ["whole"]),
            helper.make_node("Mul", ["whole", "hundredth"], ["probabilities"]),
        ]
    )


def break_numbers(model: onnx.ModelProto) -> None:
    """NaN comes out."""
    _insert(model.graph, _arithmetic("Mul", float("nan")))


def _insert(graph: onnx.GraphProto, make: Callable[[str, str], _Nodes]) -> None:
    """Puts nodes behind the Cast of `image`."""
    nodes = [_copy(node) for node in graph.node]
    place = next(number for number, node in enumerate(nodes) if "image" in node.input)
    if nodes[place].op_type != "Cast":
        raise ValueError(f"Expected a Cast of `image`. Received: {nodes[place].op_type}")
    after, before = nodes[place].output[0], f"altered_{len(nodes)}"
    nodes[place].output[0] = before
    made, constants = make(before, after)
    graph.initializer.extend(constants)
    del graph.node[:]
    graph.node.extend([*nodes[: place + 1], *made, *nodes[place + 1 :]])


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copied = onnx.NodeProto()
    copied.CopyFrom(node)
    return copied


def _gather(name: str, order: list[int], axis: int) -> Callable[[str, str], _Nodes]:
    def make(before: str, after: str) -> _Nodes:
        node = helper.make_node("Gather", [before, name], [after], axis=axis)
        return [node], [_constant(name, np.array(order, np.int64))]

    return make


def _arithmetic(operation: str, number: float) -> Callable[[str, str], _Nodes]:
    def make(before: str, after: str) -> _Nodes:
        name = f"{before}_number"
        node = helper.make_node(operation, [before, name], [after])
        return [node], [_constant(name, np.array(number, np.float32))]

    return make


def _take_floats(graph: onnx.GraphProto) -> None:
    graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT


def _constant(name: str, values: np.ndarray) -> TensorProto:
    return numpy_helper.from_array(values, name)


def _rename_output(graph: onnx.GraphProto, name: str, new: str) -> None:
    """Frees an output's name for another node."""
    node = next(node for node in graph.node if name in node.output)
    node.output[:] = [new if one == name else one for one in node.output]


ALTERED: dict[str, Change] = {
    "BGR": take_bgr,
    "mirrored": take_mirrored,
    "floats 0..1": take_floats_to_1,
    "floats -1..1": take_floats_from_minus_1,
    "scaled too often": scale_too_often,
    "channels first": take_channels_first,
    "no softmax": lose_softmax,
    "softmax twice": take_softmax_twice,
    "few bits": round_coarsely,
    "NaN": break_numbers,
}
