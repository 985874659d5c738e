"""The one place that imports OpenVINO: without the telemetry that importing it would send.

OpenVINO reports each import and conversion to its makers unless its package for that is absent;
what people do with their photos is nobody's business. For the moment of the import it is made to
look absent, and OpenVINO uses the stand-in that it has for that. All others write
`from pipeline.system.openvino_runtime import openvino`.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.system.memory import require_memory

__all__ = ["openvino"]

_TELEMETRY = "openvino_telemetry"
_NEEDED_BYTES = 800 * 10**6  # for a small network on two cores; with 500 MB it may abort


@contextmanager
def _telemetry_absent() -> Iterator[None]:
    """Lets `import openvino_telemetry` fail, as long as nobody has imported it before."""
    if _TELEMETRY in sys.modules:
        yield
        return
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # how Python forbids an import
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]


if "openvino" not in sys.modules:
    require_memory(_NEEDED_BYTES, "OpenVINO")

with _telemetry_absent():
    import openvino
