"""Makes an ONNX model smaller: tensors that lose nothing in 16 bits, or all of them, get 16.

The network still computes in 32 bits: a `Cast` stands behind each, which onnxruntime folds away
when it opens the model.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

_LEAST_SIZE = 1024  # of a tensor that is worth a node, in numbers
_GREATEST = float(np.finfo(np.float16).max)


def narrow(model: onnx.ModelProto, *, loses_digits: bool) -> None:
    """Changes the model.

    Args:
        loses_digits: whether tensors may lose digits; those that would overflow stay as they are.
    """
    graph, casts = model.graph, []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or np.prod(tensor.dims) < _LEAST_SIZE:
            continue
        values = numpy_helper.to_array(tensor)
        if np.abs(values).max() > _GREATEST:
            continue
        narrowed = values.astype(np.float16)
        if not loses_digits and not np.array_equal(narrowed.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(narrowed, f"{name} in 16 bits"))
        casts.append(helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
