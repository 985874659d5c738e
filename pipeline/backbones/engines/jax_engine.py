"""JAX as an engine: for GPUs that TensorFlow's builds do not serve, and for those who ask for it.

Keras on JAX runs in a child process, see `jax_process.py`. This process writes batches into memory
that both share, and gets rows back; it imports neither JAX nor Keras.
"""

import importlib.util
import math
import pickle
import queue
import weakref
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from importlib.metadata import entry_points

import numpy as np

from pipeline.backbones.engines.device import (
    Device,
    describe_cpu,
    describe_halving,
    may_have_gpu,
    require_device_name,
    too_little_memory,
)
from pipeline.backbones.engines.engine import CannotRunError, Network
from pipeline.backbones.engines.jax_process import (
    Gpus,
    JaxJob,
    JaxNetwork,
    list_gpus,
    serve,
    view_slots,
)
from pipeline.errors import DeviceError, EngineError, MissingExtraError
from pipeline.system.child_calls import ChildCalls
from pipeline.system.child_process import (
    ChildFailedError,
    ChildLostError,
    ChildProcess,
    HelperProcess,
)
from pipeline.system.sieved_stderr import begin_sieve
from pipeline.system.unnamed_memory import UnnamedMemory

# Batches that may be under way: one is computed, one travels, one is written.
N_SLOTS = 3
_SECONDS_TO_LOOK = 120.0
_SECONDS_TO_END = 10.0
_HUB_PREFIX = "hub:"


def require_jax() -> None:
    """Raises a MissingExtraError where JAX is not installed."""
    if importlib.util.find_spec("jax") is None:
        raise MissingExtraError(
            "The JAX engine needs JAX. Expected: an installation with it. Received: `engine=jax`, "
            "and no JAX\nRun: pip install '.[jax]' in Frostline's folder (Linux, CUDA 13; for "
            "others see JAX's own instructions), or leave `engine` out."
        )


def find_jax_device(wanted: str = "auto") -> Device:
    """Finds the device for `auto`, `cpu`, `gpu` or `gpu:N` among those that JAX sees.

    Args:
        wanted: which.

    Returns:
        The device; a CPU says why it is no GPU, where JAX is there for one.

    Raises:
        MissingExtraError: JAX is not installed.
        DeviceError: a GPU was asked for and is not there, or JAX cannot be asked.
    """
    kind, number = require_device_name(wanted)
    require_jax()
    if kind == "cpu" or (kind == "auto" and not (may_have_gpu() and _has_plugin())):
        return describe_cpu()
    gpus, reason = _ask_for_gpus() if _has_plugin() else ([], "it is installed for CPUs only")
    if kind == "auto" and not gpus:
        return replace(describe_cpu(), notes=(f"JAX sees no GPU: {reason}.",))
    if number >= len(gpus):
        raise DeviceError(
            f"JAX sees {len(gpus)} GPU(s){f': {reason}' if reason else ''}. Expected GPU {number} "
            f"to be there. Received: `device={wanted}`\n"
            "Check `nvidia-smi`, install JAX for the GPU with `pip install '.[jax]'` (Linux), or "
            "leave out `device`."
        )
    model, capability = gpus[number]
    return Device(
        f"/GPU:{number}",
        f"GPU {number}, {model}, with JAX",
        model,
        capability,
        seen_by="jax",
        number=number,
    )


def _has_plugin() -> bool:
    """Whether JAX is installed for more than a CPU; it looks in these two places."""
    return bool(entry_points(group="jax_plugins")) or bool(importlib.util.find_spec("jax_plugins"))


@cache
def _ask_for_gpus() -> Gpus:
    try:
        with HelperProcess() as helper:
            gpus: Gpus = helper.call(list_gpus, seconds=_SECONDS_TO_LOOK)
    except (ChildLostError, ChildFailedError) as error:
        raise DeviceError(
            "JAX cannot say which GPUs there are. Expected: an answer from a process that starts "
            f"it. Received: {str(error).strip().splitlines()[-1]}\nTry it alone: "
            "python -c 'import jax; print(jax.devices())'"
        ) from error
    return gpus


class JaxEngine:
    """A frozen network in JAX.

    Args:
        network: what to run; it must be possible to build it in another process.
        device: where; a GPU is one that JAX sees.
        batch_size: images per call, None for what suits the device.
        n_streams: calls side by side, None for what suits the device.

    Raises:
        CannotRunError: Keras on JAX cannot run this network.
        DeviceError: not even a quarter of the batch fits the device's memory.
        EngineError: the child process ended.
        MissingExtraError: JAX is not installed.
    """

    name = "jax"
    takes_fewer = False

    def __init__(
        self,
        network: Network,
        device: Device,
        batch_size: int | None = None,
        n_streams: int | None = None,
    ):
        require_jax()
        _require_portable(network)
        self.device = device
        self.precision = network.precision
        self.n_streams = n_streams or device.n_streams
        asked = batch_size or device.batch_size
        with UnnamedMemory() as memory, ExitStack() as stack:
            job = JaxJob(
                network.build,
                network.precision,
                device.kind,
                device.number,
                asked,
                memory.descriptor,
                not network.is_fast,
            )
            begin_sieve()  # the child writes where this process does
            child = ChildProcess(serve, job, descriptors=[memory.descriptor])
            stack.callback(child.stop)
            ready = _wait_until_ready(child)
            batch_shape = (ready.batch_size, *ready.image_shape)
            self._slots = view_slots(memory.resize(N_SLOTS * math.prod(batch_shape)), batch_shape)
            stack.pop_all()
        self._calls = ChildCalls(child, _lost)
        weakref.finalize(self, self._calls.stop, _SECONDS_TO_END)
        self.version = ready.version
        self.batch_size = ready.batch_size
        self.n_features = ready.n_features
        self.notes = [f"The engine is JAX {ready.version}."]
        if ready.batch_size < asked:
            self.notes.append(describe_halving(asked, ready.batch_size))
        self._idle: queue.SimpleQueue[int] = queue.SimpleQueue()
        for slot in range(N_SLOTS):
            self._idle.put(slot)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        slot = self._idle.get()
        try:
            self._slots[slot] = pixels
            kind, value = self._calls.ask(slot)
        finally:
            self._idle.put(slot)
        if kind == "rows":
            rows: np.ndarray = value
            return rows
        if kind == "memory":
            raise too_little_memory(self.batch_size)
        raise ChildFailedError(value)

    def advise(self) -> list[str]:
        """Nothing is known that would be faster."""
        return []


def _require_portable(network: Network) -> None:
    """Raises a CannotRunError for a network that another process cannot build on JAX."""
    if network.recipe is not None and _HUB_PREFIX in network.recipe.backbone:
        raise CannotRunError("KerasHub's presets need TensorFlow")
    try:
        pickle.dumps(network.build)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise CannotRunError("it exists only in this process") from error


def _wait_until_ready(child: ChildProcess) -> JaxNetwork:
    try:
        kind, value = child.connection.recv()
    except (EOFError, OSError) as error:
        raise _lost(child) from error
    if kind == "error":
        raise value
    if kind == "cannot":
        reason, trace = value
        raise CannotRunError(reason) from ChildFailedError(trace)
    network: JaxNetwork = value
    return network


def _lost(child: ChildProcess) -> EngineError:
    return EngineError(
        "The process in which JAX computes ended early. Expected it to run to the end. "
        f"Received: {child.describe_end()}\nWhat was finished is kept: run the same again. Where "
        "the memory was short, a smaller `batch_size` takes less of it."
    )
