"""OpenVINO's file in 8 bits, by NNCF. Runs in a child process, see `quantize.py`.

The first convolution stays in float32: next to nothing of the computation, and most of what 8 bits
lose (EfficientNet-Lite0 on flowers: a probability changed by up to 0.15 instead of 0.23). With it
in 8 bits NNCF has to give it 7 for the sake of processors without VNNI (then: 0.60). So does all
behind the features: a distance that is computed in 8 bits is off by up to 0.23 of 2.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

_CONVOLUTIONS = ("Convolution", "GroupConvolution")
_POOLS = ("ReduceMean", "ReduceMax", "AvgPool", "MaxPool")
_N_AXES = 4  # of images: how many, channels, height, width
_NOT_COMPUTED = ("Constant", "Parameter", "Result")


def quantize_openvino(
    source: Path, target: Path, pixels: Path, report: Callable[[int, int], None]
) -> list[str]:
    """Writes an 8-bit `model.xml` and its `model.bin`."""
    from pipeline.system.openvino_runtime import openvino

    images = np.load(pixels, mmap_mode="r")
    model = openvino.Core().read_model(source)
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # NNCF reports home, too
    import nncf

    def prepare(place: int) -> np.ndarray:
        report(place + 1, len(images))
        return np.asarray(images[place : place + 1])

    quantized = nncf.quantize(
        model,
        nncf.Dataset(range(len(images)), prepare),
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=_find_first_and_last(model)),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.DISABLE
        ),
    )
    openvino.save_model(quantized, target, compress_to_fp16=False)
    return [
        "The first convolution and all behind the features are computed in float32; 8 bits "
        "are exact on processors with VNNI, AMX or their like, and may overflow on others."
    ]


def _find_first_and_last(model: Any) -> list[str]:
    """Names of the first convolutions on the way from the image, and of all nodes behind the
    features: those of the head, of the distance from what was seen, and the softmax.
    """
    first, _ = _walk(
        list(model.get_parameters()),
        lambda node: [
            into.get_node() for output in node.outputs() for into in output.get_target_inputs()
        ],
        _is_convolution,
    )
    _, behind = _walk(
        list(model.get_results()),
        lambda node: [given.get_source_output().get_node() for given in node.inputs()],
        _sees_places,
    )
    nodes = [*first, *(node for node in behind if node.get_type_name() not in _NOT_COMPUTED)]
    return sorted({node.get_friendly_name() for node in nodes})


def _is_convolution(node: Any) -> bool:
    return node.get_type_name() in _CONVOLUTIONS


def _sees_places(node: Any) -> bool:
    """Whether it is a convolution, or a pooling over places of an image: there features begin."""
    is_pool = node.get_type_name() in _POOLS
    return _is_convolution(node) or (is_pool and len(node.get_input_partial_shape(0)) == _N_AXES)


def _walk(
    starts: list[Any], step: Callable[[Any], list[Any]], is_end: Callable[[Any], bool]
) -> tuple[list[Any], list[Any]]:
    """The nodes of a kind that are met first on each way, and those that lie before them."""
    met, passed = {}, {}
    waiting = list(starts)
    while waiting:
        node = waiting.pop()
        name = node.get_friendly_name()
        if is_end(node):
            met[name] = node
        elif name not in passed:
            passed[name] = node
            waiting += step(node)
    return list(met.values()), list(passed.values())
