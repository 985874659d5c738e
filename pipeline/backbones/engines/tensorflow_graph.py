"""TensorFlow as an engine: a folded graph on a CPU, a compiled one on a GPU.

It runs every network that Keras builds, so it is the one to fall back on.
"""

from contextlib import nullcontext
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.backbones.engines.device import (
    N_HALVINGS,
    Device,
    describe_halving,
    memory_errors,
    use_tf32,
)
from pipeline.backbones.engines.engine import Network
from pipeline.backbones.keras_internals import replace_variables_by_constants
from pipeline.backbones.keras_settings import keras_settings
from pipeline.errors import DeviceError
from pipeline.recipe import TF32
from pipeline.system.keras_on_tensorflow import keras
from pipeline.system.tensorflow_gpus import deterministic_compiler


class TensorFlowEngine:
    """A frozen network in TensorFlow.

    Args:
        network: what to run.
        device: where.
        batch_size: images per call, None for what suits the device; on a GPU fewer where that many
            do not fit its memory.
        n_streams: calls side by side, None for what suits the device.
        is_compiled: by XLA; otherwise variables become constants, so that TensorFlow folds
            BatchNorm and fuses what it can. None for what suits the device.
    """

    name = "tensorflow"
    takes_fewer = False

    def __init__(
        self,
        network: Network,
        device: Device,
        batch_size: int | None = None,
        n_streams: int | None = None,
        *,
        is_compiled: bool | None = None,
    ):
        self.version = tf.__version__
        self.device = device
        self.precision = network.precision
        self.batch_size = asked = batch_size or device.batch_size
        self.n_streams = n_streams or device.n_streams
        self.notes: list[str] = []
        with tf.device(device.name):
            model = network.model
        self.n_features = int(model.output_shape[-1])
        if device.is_gpu:
            use_tf32(is_on=network.precision == TF32)
            with deterministic_compiler() if not network.is_fast else nullcontext():
                self.batch_size, run = _trace_what_fits(model, asked, device)
            if self.batch_size < asked:
                self.notes.append(describe_halving(asked, self.batch_size))
        else:
            run = trace(model, asked, device)
        is_compiled = device.is_gpu if is_compiled is None else is_compiled
        self._run = run if is_compiled else _fold_constants(run)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        with memory_errors(self.batch_size):
            rows: np.ndarray = self._run(tf.constant(pixels)).numpy()
        return rows

    def advise(self) -> list[str]:
        """Nothing is known that would be faster."""
        return []


def trace(model: keras.Model, batch_size: int | None, device: Device) -> Any:
    """The model as a TensorFlow function of uint8 (batch_size, height, width, 3); None = any."""
    signature = tf.TensorSpec((batch_size, *model.input_shape[1:]), tf.uint8)

    def run(pixels: tf.Tensor) -> tf.Tensor:
        with keras_settings(), tf.device(device.name):
            return tf.cast(model(tf.cast(pixels, tf.float32), training=False), tf.float32)

    return tf.function(run, input_signature=[signature], jit_compile=device.is_gpu)


def _trace_what_fits(model: keras.Model, batch_size: int, device: Device) -> tuple[int, Any]:
    """The batch size that fits the device's memory, halved at most twice, and the network at it.

    Raises:
        DeviceError: none of them fits.
    """
    least = max(1, batch_size >> N_HALVINGS)
    while True:
        run = trace(model, batch_size, device)
        try:
            with memory_errors(batch_size):
                run(tf.zeros((batch_size, *model.input_shape[1:]), tf.uint8)).numpy()
            return batch_size, run
        except DeviceError:
            if batch_size <= least:
                raise
        batch_size = max(least, batch_size // 2)


def freeze(function: Any) -> Any:
    """The function's graph with its variables replaced by constants."""
    return replace_variables_by_constants(function.get_concrete_function())


def _fold_constants(function: Any) -> Any:
    frozen = freeze(function)
    return lambda pixels: frozen(pixels)[0]
