"""ONNX, by way of TensorFlow's frozen graph: Keras's own export makes inputs of constants."""

from pathlib import Path

import onnx
import tf2onnx

from pipeline.classifier.export.formats.format import Settings
from pipeline.classifier.export.whole_network import WholeNetwork

OPSET = 18


def write_onnx(network: WholeNetwork, path: Path, settings: Settings) -> list[str]:
    """Writes `model.onnx`, with the metadata as its properties."""
    frozen = network.frozen
    model, _ = tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(),
        input_names=[tensor.name for tensor in frozen.inputs],
        output_names=[tensor.name for tensor in frozen.outputs],
        opset=OPSET,
    )
    names = [model.graph.input[0].name, *(output.name for output in model.graph.output)]
    for old, new in zip(names, ["image", *sorted(network.output_names)], strict=True):
        _rename(model.graph, old, new)
    for key, value in settings.metadata.items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return []


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Gives a tensor another name, wherever it is used."""
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.name == old:
            value.name = new
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
