"""Several GPUs of one machine as one embedder: a process for each, which sees no other GPU.

The processes only compute. Who calls it decodes, and writes the rows: there is one writer.
"""

import math
import os
import weakref
from contextlib import ExitStack
from queue import SimpleQueue

import numpy as np

from pipeline.errors import DeviceError, EngineError
from pipeline.features.device_process import (
    CALLS_A_DEVICE,
    VISIBLE,
    DeviceJob,
    ReadyDevice,
    count_gpus,
    serve_device,
)
from pipeline.features.embed import MakeEmbedder
from pipeline.system.child_calls import ChildCalls
from pipeline.system.child_process import (
    ChildFailedError,
    ChildLostError,
    ChildProcess,
    HelperProcess,
)
from pipeline.system.unnamed_memory import UnnamedMemory


class EmbedOnDevices:
    """Pixels to features on several GPUs; any number of threads may call it at once.

    Args:
        make_embedder, batch_size, image_size: as for a `DeviceJob`.
        devices: the names of the GPUs in `CUDA_VISIBLE_DEVICES`.

    Raises:
        EngineError: the devices are not alike, or a process ended.
        FrostlineError: that a process raised when it opened its embedder.
    """

    def __init__(
        self,
        make_embedder: MakeEmbedder,
        batch_size: int | None,
        image_size: int,
        devices: list[str],
    ):
        with ExitStack() as stack:
            memory = stack.enter_context(UnnamedMemory())
            children = []
            for visible in devices:
                job = DeviceJob(make_embedder, batch_size, visible, image_size, memory.descriptor)
                children.append(ChildProcess(serve_device, job, descriptors=[memory.descriptor]))
                stack.callback(children[-1].stop)
            ready = [_wait_until_ready(child) for child in children]
            _require_alike(devices, ready)
            self.record = ready[0].record
            self.n_features = ready[0].n_features
            self.batch_size = ready[0].batch_size
            self.images_per_task = ready[0].images_per_task
            self.n_streams = CALLS_A_DEVICE * len(devices)
            shape = (self.n_streams, self.images_per_task, image_size, image_size, 3)
            mapped = memory.resize(math.prod(shape))
            self._slots = np.frombuffer(mapped, np.uint8).reshape(shape)
            stack.pop_all()
            memory.close()
        names = ", ".join(devices)
        model = self.record.device_name or "of unknown model"
        self.notes = [
            f"Computing on {len(devices)} GPUs ({names}; {model}), each in a process of its own.",
            *(note for note in ready[0].notes if not note.startswith("Computing on")),
        ]
        self._calls = [ChildCalls(child, _lost) for child in children]
        weakref.finalize(self, _stop, self._calls)
        self._idle: SimpleQueue[tuple[int, ChildCalls]] = SimpleQueue()
        for slot in range(self.n_streams):
            self._idle.put((slot, self._calls[slot % len(devices)]))

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """float32 (n_samples, n_features) of uint8 RGB (n_samples, height, width, 3)."""
        features = np.empty((len(pixels), self.n_features), np.float32)
        for start in range(0, len(pixels), self.images_per_task):
            part = slice(start, start + self.images_per_task)
            features[part] = self._embed(pixels[part])
        return features

    def advise(self) -> list[str]:
        """Nothing is known that would be faster."""
        return []

    def _embed(self, pixels: np.ndarray) -> np.ndarray:
        slot, calls = self._idle.get()
        try:
            self._slots[slot, : len(pixels)] = pixels
            kind, value = calls.ask(slot, len(pixels))
        finally:
            self._idle.put((slot, calls))
        if kind == "rows":
            rows: np.ndarray = value
            return rows
        raise value if kind == "error" else ChildFailedError(value)


def make_on_all(
    make_embedder: MakeEmbedder, image_size: int, engine: str | None, batch_size: int | None
) -> EmbedOnDevices:
    """`EmbedOnDevices` on all GPUs of this machine.

    Args:
        make_embedder: makes the embedder of one.
        image_size: side of the images.
        engine: that was asked for, None for any.
        batch_size: images per call of the network, None = what suits the device.
    """
    return EmbedOnDevices(make_embedder, batch_size, image_size, find_gpus(engine))


def find_gpus(engine: str | None) -> list[str]:
    """The names of this machine's GPUs in `CUDA_VISIBLE_DEVICES`; nothing is started here.

    Raises:
        DeviceError: there is none.
    """
    try:
        with HelperProcess(is_quiet=True) as helper:
            n_gpus: int = helper.call(count_gpus, engine)
    except (ChildLostError, ChildFailedError) as error:
        raise DeviceError(
            "The GPUs of this machine could not be counted. Expected an answer from a process "
            f"that looks for them. Received: {str(error).strip().splitlines()[-1]}\n"
            "Name one: `device='gpu:0'`."
        ) from error
    asked = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    return asked[:n_gpus] if asked else [str(number) for number in range(n_gpus)]


def _wait_until_ready(child: ChildProcess) -> ReadyDevice:
    try:
        kind, value = child.connection.recv()
    except (EOFError, OSError) as error:
        raise _lost(child) from error
    if kind == "error":
        raise value
    ready: ReadyDevice = value
    return ready


def _require_alike(devices: list[str], ready: list[ReadyDevice]) -> None:
    """Raises an EngineError where rows would differ with the device that computed them."""
    first = ready[0]
    for name, other in zip(devices[1:], ready[1:], strict=True):
        if other.record != first.record:
            raise EngineError(
                "The GPUs are not alike, so their rows would differ. Expected all to be as GPU "
                f"{devices[0]}: {_describe(first)}. Received: GPU {name}: {_describe(other)}\n"
                f"Hide the others (`export {VISIBLE}={devices[0]}`), name one "
                f"(`device='gpu:0'`), or give a `batch_size` that fits all."
            )


def _describe(ready: ReadyDevice) -> str:
    record = ready.record
    return (
        f"{record.name} {record.version} on {record.device_name or record.device} "
        f"{record.compute_capability}, batches of {record.batch_size}"
    )


def _lost(child: ChildProcess) -> EngineError:
    return EngineError(
        "The process of a GPU ended early. Expected it to run to the end. "
        f"Received: {child.describe_end()}\nWhat was finished is kept: run the same again. Where "
        "the memory was short, a smaller `batch_size` takes less of it."
    )


def _stop(calls: list[ChildCalls]) -> None:
    for one in calls:
        one.stop()
