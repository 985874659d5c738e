"""Pixels to features, as fast as the machine allows; the only place that runs a frozen model.

On a CPU the model becomes a graph whose variables are constants, run by LiteRT one image at a
time: BatchNorm is folded into the convolutions, and each stream has one thread, so that streams
run side by side without getting in each other's way. `docs/performance.md` has the figures that
decided this. On a GPU the model is compiled, for large batches.
"""

import os
import queue
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

from pipeline.backbones.keras_internals import replace_variables_by_constants
from pipeline.backbones.keras_settings import keras_settings
from pipeline.errors import DeviceError
from pipeline.system.keras_on_tensorflow import keras
from pipeline.system.parallel import count_cores
from pipeline.system.quiet_start import no_start_up_talk

CPU_BATCH_SIZE = 1
GPU_BATCH_SIZE = 128
# Decoding threads that keep a GPU busy; the device itself runs one batch after the other.
GPU_STREAMS = 8
IMAGES_PER_TASK = 8
# Twenty times that is what converting may take of memory; ResNet50 is just below.
LARGE_WEIGHTS_BYTES = 100_000_000


@dataclass(frozen=True)
class Device:
    """Where to compute: TensorFlow's name of it, and words for people."""

    name: str
    description: str

    @property
    def is_gpu(self) -> bool:
        return "GPU" in self.name


def choose_device(wanted: str = "auto") -> Device:
    """Finds the device for `auto`, `cpu`, `gpu` or `gpu:N`.

    Raises:
        DeviceError: a GPU was asked for and is not there.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        with suppress(RuntimeError):  # it is in use already, so its memory is set up
            tf.config.experimental.set_memory_growth(gpu, True)
    if wanted == "cpu" or (wanted == "auto" and not gpus):
        return Device("/CPU:0", f"CPU, {count_cores()} cores")
    kind, _, number = wanted.partition(":")
    index = int(number) if number.isdigit() else 0
    if kind not in {"auto", "gpu"} or (number and not number.isdigit()):
        raise DeviceError(
            f"Unknown device. Expected auto, cpu, gpu or gpu:N. Received: --device {wanted}"
        )
    if index >= len(gpus):
        raise DeviceError(
            f"TensorFlow sees {len(gpus)} GPU(s). Expected GPU {index} to be there. "
            f"Received: --device {wanted}\n"
            "Check `nvidia-smi`, install the CUDA libraries with `pip install '.[gpu]'` "
            "(Linux), or leave out --device."
        )
    details = tf.config.experimental.get_device_details(gpus[index])
    return Device(f"/GPU:{index}", f"GPU {index}, {details.get('device_name', 'unknown model')}")


def use_one_thread_per_operation() -> bool:
    """Sets TensorFlow up for many one-thread streams; holds for the whole process.

    Returns:
        False where TensorFlow runs already with other settings, which it cannot change.
    """
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(count_cores())
    except RuntimeError:
        return False
    return True


class Embedder:
    """A frozen model as a function of RGB pixels.

    Any number of threads may call it at once. Batches are padded to one size, so the same image
    gives the same bits wherever in whichever batch it is.

    Args:
        model: Keras model from float32 RGB 0..255 (n, height, width, 3) to one row per image.
        device: where to run it.
        batch_size: images per call of the network, None for what suits the device.
        n_streams: calls that run side by side, None for what suits the device.
        engine: `litert`, `folded` or `compiled`; None for what suits the device.
    """

    def __init__(
        self,
        model: keras.Model,
        device: Device,
        batch_size: int | None = None,
        n_streams: int | None = None,
        engine: str | None = None,
    ):
        self.device = device
        self.batch_size = batch_size or (GPU_BATCH_SIZE if device.is_gpu else CPU_BATCH_SIZE)
        self.n_streams = n_streams or (GPU_STREAMS if device.is_gpu else count_cores())
        self.images_per_task = -(-IMAGES_PER_TASK // self.batch_size) * self.batch_size
        self.n_features = int(model.output_shape[-1])
        self.notes: list[str] = []
        self._image_shape = tuple(model.input_shape[1:])
        run = _trace(model, self._image_shape, self.batch_size, device)
        self.engine = engine or ("compiled" if device.is_gpu else "litert")
        if self.engine == "litert":
            try:
                self._call = _LiteRTNetwork(run, self.n_streams)
            except _ConversionError as error:
                self.notes.append(
                    f"LiteRT cannot run this network ({error}); TensorFlow does, more slowly."
                )
                self.engine = "folded"
        if self.engine == "folded":
            self._call = _fold_constants(run)
        elif self.engine == "compiled":
            self._call = lambda pixels: run(pixels).numpy()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Features of any number of images.

        Args:
            pixels: uint8 RGB (n_samples, height, width, 3).

        Returns:
            float32 (n_samples, n_features).

        Raises:
            DeviceError: the batch does not fit the device's memory.
        """
        n_samples = len(pixels)
        features = np.empty((n_samples, self.n_features), np.float32)
        batch = np.zeros((self.batch_size, *self._image_shape), np.uint8)
        for start in range(0, n_samples, self.batch_size):
            part = pixels[start : start + self.batch_size]
            batch[: len(part)] = part
            with memory_errors(self.batch_size):
                features[start : start + len(part)] = self._call(batch)[: len(part)]
        return features


@contextmanager
def memory_errors(batch_size: int) -> Iterator[None]:
    """Says which batch size to try where the device's memory is too small for one.

    Raises:
        DeviceError: so it is.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        smaller = max(1, batch_size // 2)
        raise DeviceError(
            f"Not enough memory for a batch of {batch_size} images. Expected it to fit the "
            f"device. Received: --batch-size {batch_size}\nTry --batch-size {smaller}"
            + (", or a smaller image size at extraction." if batch_size == 1 else ".")
        ) from error


def _trace(
    model: keras.Model, image_shape: tuple[int, ...], batch_size: int, device: Device
) -> Callable:
    """The model as a TensorFlow function of uint8 (batch_size, height, width, 3)."""
    signature = tf.TensorSpec((batch_size, *image_shape), tf.uint8)

    def run(pixels):
        with keras_settings(), tf.device(device.name):
            return tf.cast(model(tf.cast(pixels, tf.float32), training=False), tf.float32)

    return tf.function(run, input_signature=[signature], jit_compile=device.is_gpu)


def freeze(function: Callable):
    """The function's graph with its variables replaced by constants."""
    return replace_variables_by_constants(function.get_concrete_function())


def _fold_constants(function: Callable) -> Callable[[np.ndarray], np.ndarray]:
    """TensorFlow on the frozen graph: it folds BatchNorm and fuses what it can."""
    frozen = freeze(function)
    return lambda pixels: frozen(tf.constant(pixels))[0].numpy()


class _ConversionError(Exception):
    """LiteRT has no such operation, or not with these types."""


class _LiteRTNetwork:
    """The frozen graph in LiteRT, whose XNNPACK kernels are the fastest on a CPU.

    An interpreter serves one thread at a time, so there is one for each stream; they share the
    weights' bytes.
    """

    def __init__(self, function: Callable, n_streams: int):
        from ai_edge_litert.interpreter import Interpreter

        with no_start_up_talk():
            self._model = convert_to_litert(function)
            self._idle: queue.SimpleQueue = queue.SimpleQueue()
            for _ in range(n_streams):
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
            return interpreter.get_tensor(self._output)
        finally:
            self._idle.put(interpreter)


def convert_to_litert(function: Callable) -> bytes:
    """A function's graph, its variables made constants, as a LiteRT model in float32.

    Frozen in memory, the graph takes twenty times the weights' bytes for a while. By way of a
    SavedModel it takes eight, and up to three times the seconds: that is for large ones.
    """
    try:
        concrete = function.get_concrete_function()
        n_bytes = sum(v.shape.num_elements() * v.dtype.size for v in concrete.variables)
        if n_bytes > LARGE_WEIGHTS_BYTES:
            return _convert_by_saved_model(function, concrete)
        return tf.lite.TFLiteConverter.from_concrete_functions([freeze(function)]).convert()
    except Exception as error:
        # The converter raises its own and any other exception, with a page of text.
        raise _ConversionError(str(error).strip().splitlines()[0][:200]) from error


def _convert_by_saved_model(function: Callable, concrete) -> bytes:
    module = tf.Module()
    module.weights, module.run = list(concrete.variables), function
    with tempfile.TemporaryDirectory(prefix="frostline-litert-") as folder:
        tf.saved_model.save(module, folder, signatures=concrete)
        return tf.lite.TFLiteConverter.from_saved_model(folder).convert()
