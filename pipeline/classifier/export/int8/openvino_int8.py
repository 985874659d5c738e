"""OpenVINO's file in 8 bits, by NNCF. Runs in a child process, see `quantize.py`.

The first convolution stays in float32: next to nothing of the computation, and most of what 8 bits
lose (EfficientNet-Lite0 on flowers: a probability changed by up to 0.15 instead of 0.23). With it
in 8 bits NNCF has to give it 7 for the sake of processors without VNNI (then: 0.60).
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


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
        "The first convolution, the head's last layer and the softmax are computed in float32; "
        "8 bits are exact on processors with VNNI, AMX or their like, and may overflow on others."
    ]


def _find_first_and_last(model: Any) -> list[str]:
    """Names of the first convolutions on the way from the image, and of the last products on the
    way to each output: the head's last layer, and the distance from what was seen.
    """
    first = _walk(
        list(model.get_parameters()),
        lambda node: [
            into.get_node() for output in node.outputs() for into in output.get_target_inputs()
        ],
        ("Convolution", "GroupConvolution"),
    )
    last = _walk(
        list(model.get_results()),
        lambda node: [given.get_source_output().get_node() for given in node.inputs()],
        ("MatMul",),
    )
    return sorted(first | last)


def _walk(starts: list[Any], step: Callable[[Any], list[Any]], kinds: tuple[str, ...]) -> set[str]:
    """Names of the nodes of these kinds that are met first on each way."""
    found: set[str] = set()
    seen: set[str] = set()
    waiting = list(starts)
    while waiting:
        node = waiting.pop()
        name = node.get_friendly_name()
        if name in seen:
            continue
        seen.add(name)
        if node.get_type_name() in kinds:
            found.add(name)
        else:
            waiting += step(node)
    return found
