"""Makes 8 bits of an exported model, in a process of its own.

NNCF replaces Python's class of loggers, prints, and reports home; ai-edge-quantizer prints and
warns. In a child that goes nowhere, and nothing of it stays.
"""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.classifier.export.formats.format import CannotExportError
from pipeline.classifier.export.int8.litert_int8 import quantize_litert
from pipeline.classifier.export.int8.openvino_int8 import quantize_openvino
from pipeline.system.child_process import ChildFailedError, ChildLostError, HelperProcess
from pipeline.system.progress import OnProgress

# Takes a float32 model, where the new one goes, pixels as `.npy`, and what to call with images
# done and to do; gives sentences for people.
Quantize = Callable[[Path, Path, Path, Callable[[int, int], None]], list[str]]

_MOST_SECONDS = 1800  # between two signs of life


@dataclass(frozen=True)
class Quantizer:
    """What makes 8 bits of a format's model.

    Args:
        quantize: the child imports it by name.
        package: that has to be there, as Python imports it; the extra `int8` brings it.
    """

    quantize: Quantize
    package: str


QUANTIZERS = {
    "openvino": Quantizer(quantize_openvino, "nncf"),
    "litert": Quantizer(quantize_litert, "ai_edge_quantizer"),
}


def quantize(
    form: str, source: Path, target: Path, calibration: np.ndarray, on_progress: OnProgress
) -> list[str]:
    """Writes an 8-bit model of a float32 one; what goes in and comes out stays.

    Args:
        form: name of the format, one of `QUANTIZERS`.
        source: the model's file.
        target: the new one's, which does not exist.
        calibration: training images, uint8 `(n, height, width, 3)`.

    Returns:
        Sentences for people.

    Raises:
        CannotExportError: the quantizer cannot do it.
    """
    with tempfile.TemporaryDirectory(prefix="frostline-int8-") as folder:
        pixels = Path(folder, "pixels.npy")
        np.save(pixels, calibration)
        with HelperProcess(is_quiet=True) as helper:
            try:
                notes: list[str] = helper.call(
                    QUANTIZERS[form].quantize,
                    source,
                    target,
                    pixels,
                    on_progress=lambda done, total: on_progress("Calibrating", done, total),
                    seconds=_MOST_SECONDS,
                )
            except ChildFailedError as error:
                reason = str(error).strip().splitlines()[-1]
                raise CannotExportError(f"it cannot be made 8 bits: {reason}") from error
            except ChildLostError as error:
                raise CannotExportError(f"it cannot be made 8 bits: {error}") from error
    return [f"8 bits, calibrated on {len(calibration):,} training images.", *notes]
