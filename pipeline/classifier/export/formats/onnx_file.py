"""ONNX, by way of TensorFlow's graph: Keras's own export makes inputs of constants."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from pipeline.classifier.export.formats.format import CannotExportError, Settings
from pipeline.classifier.export.whole_network import WholeNetwork

OPSET = 18
BATCH = "n_images"
_LEAST_NUMBERS = 64  # of a weight, to be worth a node that widens it


def write_onnx(network: WholeNetwork, path: Path, settings: Settings) -> list[str]:
    """Writes `model.onnx`, with the metadata as its properties.

    In float16 the weights are stored in 16 bits, and the file widens them: what is computed is
    float32, which every runtime has, and a processor has no slower way of.
    """
    model = _convert(network)
    foreign = sorted(
        {node.op_type for node in model.graph.node if not onnx.defs.has(node.op_type, node.domain)}
    )
    if foreign:
        raise CannotExportError(f"ONNX has no operations for {', '.join(foreign)}")
    _name_batches(model.graph)
    if settings.precision == "float16":
        _halve_weights(model.graph)
    for key, value in settings.metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    if settings.precision == "float16":
        return ["Weights are float16; what is computed is float32."]
    return []


@contextmanager
def _no_talk_of_converter() -> Iterator[None]:
    """It logs each node that it has no operation for; that is looked at and told in one line."""
    logger = logging.getLogger("tf2onnx.tfonnx")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _convert(network: WholeNetwork) -> Any:
    """By way of the frozen graph: of constants that a function captures, tf2onnx makes inputs."""
    size = network.image_size
    image = tf.TensorSpec((None, size, size, 3), tf.uint8, name="image")
    serve = network.make_signature()
    try:
        with _no_talk_of_converter():
            model, _ = tf2onnx.convert.from_function(serve, [image], opset=OPSET)
    except (ValueError, NotImplementedError, RuntimeError) as error:
        raise CannotExportError(f"tf2onnx cannot convert it: {error}") from error
    return model


def _name_batches(graph: onnx.GraphProto) -> None:
    """Gives the number of images one name, at the input and at the outputs."""
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    del graph.value_info[:]  # which have names of their own for it


def _halve_weights(graph: onnx.GraphProto) -> None:
    """Stores weights in float16, each with a node that makes float32 of it again."""
    nodes = []
    for weight in graph.initializer:
        is_float = weight.data_type == onnx.TensorProto.FLOAT
        if not is_float or np.prod(weight.dims) < _LEAST_NUMBERS:
            continue
        name, values = weight.name, onnx.numpy_helper.to_array(weight)
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise CannotExportError(f"the weights of {name} are too large for it")
        halved = f"{name}/float16"
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), halved))
        nodes.append(onnx.helper.make_node("Cast", [halved], [name], to=onnx.TensorProto.FLOAT))
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
