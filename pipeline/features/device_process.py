"""The life of a process that has one of several GPUs and sees no other: pixels in, rows out."""

import os
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any

import numpy as np

from pipeline.backbones.engines.jax_process import list_gpus
from pipeline.backbones.engines.opening import find_device
from pipeline.errors import FrostlineError
from pipeline.features.embed import MakeEmbedder
from pipeline.recipe import EngineRecord
from pipeline.system.unnamed_memory import map_memory

VISIBLE = "CUDA_VISIBLE_DEVICES"
# Of each device: one batch is computed while the next one travels.
CALLS_A_DEVICE = 2


@dataclass(frozen=True)
class DeviceJob:
    """What the process of one device is to do.

    Args:
        make_embedder: from a batch size, on the only GPU that is seen; must be picklable.
        batch_size: images per call of the network, None = what suits the device.
        visible: the device's name in `CUDA_VISIBLE_DEVICES`.
        image_size: side of the images.
        memory: descriptor of the memory that batches lie in.
    """

    make_embedder: MakeEmbedder
    batch_size: int | None
    visible: str
    image_size: int
    memory: int


@dataclass(frozen=True)
class ReadyDevice:
    """What the embedder of a device says of itself."""

    record: EngineRecord
    notes: list[str]
    n_features: int
    batch_size: int
    images_per_task: int


def count_gpus(engine: str | None) -> int:
    """How many GPUs the first library sees that can compute on one; to be called in a child.

    Raises:
        DeviceError: none.
    """
    if find_device("gpu", engine).seen_by == "jax":
        return len(list_gpus()[0])
    import tensorflow as tf

    return len(tf.config.list_physical_devices("GPU"))


def serve_device(connection: Connection, job: DeviceJob) -> None:
    """The life of a device's process: rows for each slot that it is told, two at a time."""
    os.environ[VISIBLE] = job.visible  # before any library looks
    try:
        embed = job.make_embedder(job.batch_size)
    except FrostlineError as error:
        connection.send(("error", error))
        return
    numbers = embed.n_features, embed.batch_size, embed.images_per_task
    connection.send(("ready", ReadyDevice(embed.record, embed.notes, *numbers)))
    answering = Lock()

    def answer(ticket: int, slot: int, n_images: int) -> None:
        said = (ticket, *_try(lambda: embed(slots[slot, :n_images])))
        with answering:
            connection.send(said)

    with ThreadPoolExecutor(CALLS_A_DEVICE) as pool:
        question = connection.recv()  # the memory has its size by then
        memory = map_memory(job.memory, os.fstat(job.memory).st_size)
        shape = (-1, embed.images_per_task, job.image_size, job.image_size, 3)
        slots = np.frombuffer(memory, np.uint8).reshape(shape)
        while True:
            pool.submit(answer, *question)
            question = connection.recv()


def _try(compute: Callable[[], np.ndarray]) -> tuple[str, Any]:
    try:
        return "rows", compute()
    except FrostlineError as error:
        return "error", error
    except Exception:
        return "failure", traceback.format_exc()
