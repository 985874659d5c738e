"""Pixels to features, as fast as the machine allows; the only place that runs a frozen model.

On a CPU the model becomes a graph whose variables are constants, so that TensorFlow folds
BatchNorm into the convolutions, and each operation runs on one thread, so that several batches can
run side by side without getting in each other's way.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

from pipeline.errors import DeviceError

CPU_BATCH_SIZE = 8
GPU_BATCH_SIZE = 128


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
            "Check `nvidia-smi`, install the CUDA libraries with `pip install 'frostline[gpu]'` "
            "(Linux), or leave out --device."
        )
    details = tf.config.experimental.get_device_details(gpus[index])
    return Device(f"/GPU:{index}", f"GPU {index}, {details.get('device_name', 'unknown model')}")


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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

    Any number of threads may call it at once. Every batch is padded to one size, so the same
    image gives the same bits wherever in whichever batch it is.

    Args:
        model: Keras model from float32 RGB 0..255 (n, height, width, 3) to one row per image.
        device: where to run it.
        batch_size: images per call of the network.
    """

    def __init__(self, model: keras.Model, device: Device, batch_size: int | None = None):
        self.device = device
        self.batch_size = batch_size or (GPU_BATCH_SIZE if device.is_gpu else CPU_BATCH_SIZE)
        self.n_streams = 1 if device.is_gpu else count_cores()
        self.n_features = int(model.output_shape[-1])
        self._image_shape = tuple(model.input_shape[1:])
        self._call = _compile(model, self._image_shape, self.batch_size, device)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Features of any number of images.

        Args:
            pixels: uint8 RGB (n_samples, height, width, 3).

        Returns:
            float32 (n_samples, n_features).
        """
        n_samples = len(pixels)
        features = np.empty((n_samples, self.n_features), np.float32)
        batch = np.zeros((self.batch_size, *self._image_shape), np.uint8)
        for start in range(0, n_samples, self.batch_size):
            part = pixels[start : start + self.batch_size]
            batch[: len(part)] = part
            rows = self._call(tf.constant(batch)).numpy()
            features[start : start + len(part)] = rows[: len(part)]
        return features


def _compile(
    model: keras.Model, image_shape: tuple[int, ...], batch_size: int, device: Device
) -> Callable[[tf.Tensor], tf.Tensor]:
    """The model as a TensorFlow function of uint8 (batch_size, height, width, 3)."""
    signature = tf.TensorSpec((batch_size, *image_shape), tf.uint8)

    def run(pixels):
        with tf.device(device.name):
            return tf.cast(model(tf.cast(pixels, tf.float32), training=False), tf.float32)

    if device.is_gpu:
        return tf.function(run, input_signature=[signature], jit_compile=True)
    return _fold_constants(tf.function(run, input_signature=[signature]))


def _fold_constants(function) -> Callable[[tf.Tensor], tf.Tensor]:
    """Replaces the function's variables by constants, which lets TensorFlow fold and fuse."""
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_v2,
    )

    frozen = convert_variables_to_constants_v2(function.get_concrete_function())
    return lambda pixels: frozen(pixels)[0]
