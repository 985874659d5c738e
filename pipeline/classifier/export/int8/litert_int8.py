"""LiteRT's file in 8 bits, by ai-edge-quantizer. Runs in a child process, see `quantize.py`.

TensorFlow's converter quantizes, too, but all or nothing: its softmax gives probabilities in steps
of 1/256. Here whatever has no 8-bit form, and what is named below, stays in float32.
"""

import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

_IN_FLOAT = ("OUTPUT", "SOFTMAX")
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_POOLS = ("MEAN", "REDUCE_MAX", "AVERAGE_POOL_2D", "MAX_POOL_2D")
_N_AXES = 4  # of images: how many, height, width, channels
_BETWEEN = ("QUANTIZE", "DEQUANTIZE", "CAST")  # from one kind of numbers to the other


def quantize_litert(
    source: Path, target: Path, pixels: Path, report: Callable[[int, int], None]
) -> list[str]:
    """Writes an 8-bit `model.tflite`, with the files that lie behind the model."""
    from ai_edge_quantizer import quantizer, recipe
    from ai_edge_quantizer.calibrator import CalibrationMode
    from ai_edge_quantizer.qtyping import TFLOperationName

    images = np.load(pixels, mmap_mode="r")
    work = quantizer.Quantizer(str(source))
    work.load_quantization_recipe(recipe.static_wi8_ai8())
    for operation in _IN_FLOAT:
        work.update_quantization_recipe(".*", operation, algorithm_key="no_quantize")
    quantized = {str(kind.value) for kind in TFLOperationName}
    for one in _find_first_and_last(source):
        if one.kind in quantized:
            name = f"^{re.escape(one.name)}(;|$)"
            work.update_quantization_recipe(name, one.kind, algorithm_key="no_quantize")
    found = work.calibrate(
        {"serving_default": _Images(images, report)},
        mode=CalibrationMode.CALIBRATION_PROFILER_BASED,
    )
    work.quantize(calibration_result=found).export_model(target)
    report(len(images), len(images))
    with zipfile.ZipFile(source) as given, zipfile.ZipFile(target, "a") as archive:
        for name in given.namelist():
            archive.writestr(name, given.read(name))
    return [_describe_operations(target)]


class _Images:
    """Images in the form that the quantizer takes. It goes through them twice: it counts, and runs
    them.
    """

    def __init__(self, pixels: np.ndarray, report: Callable[[int, int], None]):
        self._pixels = pixels
        self._report = report

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        for place in range(len(self._pixels)):
            self._report(place, len(self._pixels))
            yield {"image": np.asarray(self._pixels[place : place + 1])}


@dataclass(frozen=True)
class _Operation:
    """One of a graph.

    Args:
        kind: as LiteRT calls it.
        name: of its first output.
        inputs, outputs: numbers of tensors.
        gives_floats: whether its first output is float32.
        n_axes: of its first input.
    """

    kind: str
    name: str
    inputs: list[int]
    outputs: list[int]
    gives_floats: bool
    n_axes: int


def _read_graph(path: Path) -> tuple[list[_Operation], list[int], list[int]]:
    """All operations in their order, and the numbers of the tensors that go in and come out."""
    from ai_edge_litert import schema_py_generated as schema

    kinds = {value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()}
    model = schema.Model.GetRootAs(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    operations = []
    for place in range(graph.OperatorsLength()):
        one = graph.Operators(place)
        output = graph.Tensors(one.Outputs(0))
        operations.append(
            _Operation(
                kinds[model.OperatorCodes(one.OpcodeIndex()).BuiltinCode()],
                output.Name().decode(),
                one.InputsAsNumpy().tolist(),
                one.OutputsAsNumpy().tolist(),
                output.Type() == schema.TensorType.FLOAT32,
                graph.Tensors(one.Inputs(0)).ShapeLength(),
            )
        )
    return operations, graph.InputsAsNumpy().tolist(), graph.OutputsAsNumpy().tolist()


def _find_first_and_last(path: Path) -> list[_Operation]:
    """The first convolutions on the way from the image, and all behind the features: the head, the
    distance from what was seen, the softmax.
    """
    operations, image, outputs = _read_graph(path)
    makers, users = defaultdict(list), defaultdict(list)
    for one in operations:
        for tensor in one.outputs:
            makers[tensor].append(one)
        for tensor in one.inputs:
            users[tensor].append(one)
    first, _ = _walk(image, users, lambda one: one.outputs, _is_convolution)
    _, behind = _walk(outputs, makers, lambda one: one.inputs, _sees_places)
    return [*first, *behind]


def _is_convolution(one: _Operation) -> bool:
    return one.kind in _CONVOLUTIONS


def _sees_places(one: _Operation) -> bool:
    """Whether it is a convolution, or a pooling over places of an image: there features begin."""
    return _is_convolution(one) or (one.kind in _POOLS and one.n_axes == _N_AXES)


def _walk(
    starts: list[int],
    step: dict[int, list[_Operation]],
    leave: Callable[[_Operation], list[int]],
    is_end: Callable[[_Operation], bool],
) -> tuple[list[_Operation], list[_Operation]]:
    """The operations of a kind that are met first on each way, and those before them."""
    met, passed = {}, {}
    waiting = list(starts)
    while waiting:
        for one in step.get(waiting.pop(), []):
            if is_end(one):
                met[one.name] = one
            elif one.name not in passed:
                passed[one.name] = one
                waiting += leave(one)
    return list(met.values()), list(passed.values())


def _describe_operations(path: Path) -> str:
    """Which are computed in float32."""
    counted = [one for one in _read_graph(path)[0] if one.kind not in _BETWEEN]
    in_float = Counter(sorted(one.kind for one in counted if one.gives_floats))
    kinds = ", ".join(kind if n == 1 else f"{n} {kind}" for kind, n in in_float.items())
    n_int8 = len(counted) - in_float.total()
    return f"Of {len(counted):,} operations {n_int8:,} are computed in 8 bits; in float32: {kinds}."
