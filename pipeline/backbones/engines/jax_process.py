"""What the JAX engine's child process does: Keras on JAX, and nothing of TensorFlow.

JAX is imported only here, and only in that child: XLA reads its settings when it starts, Keras has
one backend for the life of a process, and neither is to be decided for the program that uses
Frostline.
"""

import os
import queue
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.backbones.engines.device import N_HALVINGS, tells_of_memory, too_little_memory
from pipeline.errors import FrostlineError
from pipeline.system.keras_backend import ask_for_keras_on
from pipeline.system.tensorflow_gpus import DETERMINISTIC
from pipeline.system.unnamed_memory import map_memory

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras


@dataclass(frozen=True)
class JaxJob:
    """What the child is to run.

    Args:
        build: makes the Keras model.
        precision: of the network.
        kind: of device, `cpu` or `gpu`.
        number: of the device among those of its kind.
        batch_size: images per call; fewer where that many do not fit.
        memory: descriptor of the memory that holds batches, one after the other.
        is_deterministic: whether equal images get equal rows in every process.
    """

    build: Callable[[], "keras.Model"]
    precision: str
    kind: str
    number: int
    batch_size: int
    memory: int
    is_deterministic: bool


@dataclass(frozen=True)
class JaxNetwork:
    """The network that the child is ready to run.

    Args:
        version: of JAX.
        batch_size: images per call.
        image_shape: height, width and 3.
        n_features: columns of a row.
    """

    version: str
    batch_size: int
    image_shape: tuple[int, int, int]
    n_features: int


# How JAX names the precision of products.
_PRODUCTS = {"float32": "highest", "tf32": "tensorfloat32"}

# From uint8 (batch_size, height, width, 3) to rows that the device may still be computing.
Run = Callable[[np.ndarray], Any]
# Model and compute capability of each GPU; why there is none.
Gpus = tuple[list[tuple[str, str]], str]


def list_gpus() -> Gpus:
    """The GPUs that JAX sees; to be called in a child."""
    _set_environment(is_deterministic=False)
    import jax

    try:
        gpus = jax.devices("gpu")
    except RuntimeError as error:  # there is no such platform, or it cannot be started
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return [], lines[0].rstrip(".")
    return [(gpu.device_kind, str(getattr(gpu, "compute_capability", ""))) for gpu in gpus], ""


def serve(connection: Connection, job: JaxJob) -> None:
    """The life of the child: `ready` with a JaxNetwork, then an answer for each question.

    A question is (ticket, slot), the last is None.

    Instead of `ready` comes `error` with a FrostlineError, or `cannot` with a line of text and a
    traceback. An answer is (ticket, `rows`, array), (ticket, `memory`, None) or (ticket, `failure`,
    traceback), in the order of the questions.
    """
    try:
        network, run = _open(job)
    except FrostlineError as error:
        connection.send(("error", error))
        return
    except Exception as error:
        # Keras and XLA raise errors of all kinds for what they cannot build or compile.
        lines = str(error).strip().splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0][:200]}"
        connection.send(("cannot", (reason, traceback.format_exc())))
        return
    connection.send(("ready", network))
    _answer(connection, run, job.memory, (network.batch_size, *network.image_shape))


def _set_environment(*, is_deterministic: bool) -> None:
    """For JAX, which reads it when it starts."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # XLA's log, too: only errors
    if is_deterministic:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()
    platforms = os.environ.get("JAX_PLATFORMS")
    if platforms and "cpu" not in platforms.split(","):
        os.environ["JAX_PLATFORMS"] = f"{platforms},cpu"  # where the network is built


def _open(job: JaxJob) -> tuple[JaxNetwork, Run]:
    model, device = build_network(
        job.build, job.kind, job.number, is_deterministic=job.is_deterministic
    )
    batch_size, run = _compile_what_fits(model, job, device)
    import jax

    height, width, channels = model.input_shape[1:]
    network = JaxNetwork(
        jax.__version__, batch_size, (height, width, channels), int(model.output_shape[-1])
    )
    return network, run


def build_network(
    build: Callable[[], "keras.Model"], kind: str, number: int, *, is_deterministic: bool
) -> tuple["keras.Model", Any]:
    """Starts JAX in this process and builds a network; gives it and JAX's device.

    Args:
        build, kind, number, is_deterministic: see `JaxJob`.
    """
    _set_environment(is_deterministic=is_deterministic and kind == "gpu")
    if kind == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"  # a GPU's memory is not to be touched
    ask_for_keras_on("jax")
    import jax

    from pipeline.backbones.keras_settings import blank_weights

    device = jax.devices(kind)[number]
    # Hundreds of small operations make a network; each would be compiled for the GPU.
    with jax.default_device(jax.local_devices(backend="cpu")[0]), blank_weights():
        return build(), device


def _compile_what_fits(model: "keras.Model", job: JaxJob, device: Any) -> tuple[int, Run]:
    """The batch size that fits the device's memory, halved at most twice, and the network at it.

    Raises:
        DeviceError: none of them fits.
    """
    import jax

    batch_size = job.batch_size
    while True:
        try:
            return batch_size, compile_network(model, batch_size, job.precision, device)
        except jax.errors.JaxRuntimeError as error:
            if not tells_of_memory(str(error)):
                raise
            if batch_size == 1 or batch_size <= job.batch_size >> N_HALVINGS:
                raise too_little_memory(batch_size) from error
            batch_size //= 2


def compile_network(model: "keras.Model", batch_size: int, precision: str, device: Any) -> Run:
    """The network at one batch size, after one call that shows whether the memory is enough."""
    import jax

    from pipeline.backbones.keras_settings import keras_settings

    def compute(weights: Any, pixels: Any) -> Any:
        with keras_settings():
            rows, _ = model.stateless_call(*weights, pixels.astype("float32"), training=False)
        return rows.astype("float32")

    weights = jax.device_put(
        (
            [variable.value for variable in model.trainable_variables],
            [variable.value for variable in model.non_trainable_variables],
        ),
        device,
    )
    blank = jax.device_put(np.zeros((batch_size, *model.input_shape[1:]), np.uint8), device)
    # float32 means float32: by default a GPU multiplies with the 10 bits of TF32.
    with jax.default_matmul_precision(_PRODUCTS.get(precision, "default")):
        compiled = jax.jit(compute).lower(weights, blank).compile()
    compiled(weights, blank).block_until_ready()
    return lambda pixels: compiled(weights, jax.device_put(pixels, device))


def _answer(connection: Connection, run: Run, memory: int, batch_shape: tuple[int, ...]) -> None:
    """Runs batches until the parent is gone; the next are sent to the device meanwhile."""
    running: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def start_batches() -> None:
        slots: np.ndarray | None = None
        with suppress(EOFError, OSError):
            while (question := connection.recv()) is not None:
                ticket, slot = question
                if slots is None:  # only now has the parent given it a size
                    slots = view_slots(map_memory(memory, os.fstat(memory).st_size), batch_shape)
                try:
                    running.put((ticket, run(slots[slot])))
                except Exception as error:
                    running.put((ticket, error))
        running.put(None)

    threading.Thread(target=start_batches, daemon=True).start()
    while (found := running.get()) is not None:
        ticket, rows = found
        connection.send((ticket, *_finish(rows)))


def _finish(rows: Any) -> tuple[str, Any]:
    """Waits for the device."""
    try:
        if isinstance(rows, Exception):
            raise rows
        return "rows", np.asarray(rows)
    except Exception as error:
        if tells_of_memory(str(error)):
            return "memory", None
        return "failure", "".join(traceback.format_exception(error))


def view_slots(memory: Any, batch_shape: tuple[int, ...]) -> np.ndarray:
    """Shared memory as uint8 (n_slots, batch_size, height, width, 3)."""
    return np.frombuffer(memory, np.uint8).reshape(-1, *batch_shape)
