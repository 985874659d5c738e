"""LiteRT as an engine: on a CPU the fastest that every installation has.

The model becomes a graph whose variables are constants: BatchNorm is folded into the convolutions,
and each stream has one thread, so that streams run side by side without getting in each other's
way. `docs/performance.md` has the figures that decided this.
"""

import queue
import re
import tempfile
from importlib.metadata import version
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.backbones.engines.device import Device
from pipeline.backbones.engines.engine import CannotRunError, Network
from pipeline.backbones.engines.tensorflow_graph import freeze, trace
from pipeline.system.quiet_start import no_start_up_talk

# Twenty times that is what converting may take of memory; ResNet50 is just below.
LARGE_WEIGHTS_BYTES = 100_000_000

# In what the converter says: an operation that it lacks, and a place in a file of code.
_LACKING = re.compile(r"'tf\.(\w+)' op is neither a custom op nor a flex op")
_PLACE = re.compile(r"\S+:\d+:\d+: (?:error: )?")


class LiteRTEngine:
    """A frozen network in LiteRT, whose XNNPACK kernels are the fastest on a CPU.

    An interpreter serves one thread at a time, so there is one for each stream; they share the
    weights' bytes.

    Args:
        network: what to run.
        device: a CPU.
        batch_size: images per call, None for what suits the device.
        n_streams: calls side by side, None for what suits the device.

    Raises:
        CannotRunError: LiteRT has no such operation, or not with these types.
    """

    name = "litert"

    def __init__(
        self,
        network: Network,
        device: Device,
        batch_size: int | None = None,
        n_streams: int | None = None,
    ):
        from ai_edge_litert.interpreter import Interpreter

        self.version = version("ai-edge-litert")
        self.device = device
        self.precision = network.precision
        self.batch_size = batch_size or device.batch_size
        self.n_streams = n_streams or device.n_streams
        self.notes: list[str] = []
        model = network.build()
        self.n_features = int(model.output_shape[-1])
        with no_start_up_talk():
            self._model = convert_to_litert(trace(model, self.batch_size, device))
            self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
            for _ in range(self.n_streams):
                interpreter = Interpreter(model_content=self._model, num_threads=1)
                interpreter.allocate_tensors()
                self._idle.put(interpreter)
        self._input = interpreter.get_input_details()[0]["index"]
        self._output = interpreter.get_output_details()[0]["index"]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        interpreter = self._idle.get()
        try:
            interpreter.set_tensor(self._input, pixels)
            interpreter.invoke()
            rows: np.ndarray = interpreter.get_tensor(self._output)
            return rows
        finally:
            self._idle.put(interpreter)


def convert_to_litert(function: Any) -> bytes:
    """A function's graph, its variables made constants, as a LiteRT model in float32.

    Frozen in memory, the graph takes twenty times the weights' bytes for a while. By way of a
    SavedModel it takes eight, and up to three times the seconds: that is for large ones.

    Raises:
        CannotRunError: LiteRT has no such operation, or not with these types.
    """
    try:
        concrete = function.get_concrete_function()
        n_bytes = sum(v.shape.num_elements() * v.dtype.size for v in concrete.variables)
        if n_bytes > LARGE_WEIGHTS_BYTES:
            return _convert_by_saved_model(function, concrete)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([freeze(function)])
        return bytes(converter.convert())
    except Exception as error:
        raise CannotRunError(_describe_refusal(str(error))) from error


def _describe_refusal(text: str) -> str:
    """Why the converter refuses a graph, of the page of compiler's talk that it raises."""
    lacking = sorted(set(_LACKING.findall(text)))
    if lacking:
        return f"it has no such operation for these types: {', '.join(lacking)}"
    return _PLACE.sub("", text.strip().splitlines()[0])[:200] if text.strip() else "it says not why"


def _convert_by_saved_model(function: Any, concrete: Any) -> bytes:
    module = tf.Module()
    module.weights, module.run = list(concrete.variables), function
    with tempfile.TemporaryDirectory(prefix="frostline-litert-") as folder:
        tf.saved_model.save(module, folder, signatures=concrete)
        return bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())
