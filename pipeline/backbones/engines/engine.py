"""What runs a frozen network: the seam that OpenVINO, TensorFlow and JAX stand behind.

An engine takes batches of up to one size; `Embedder` makes of it a function of any number of
images. Nothing heavy is imported here, so an engine that needs no TensorFlow never loads it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from pipeline.backbones.engines.device import Device
from pipeline.backbones.engines.network_store import NetworkStore
from pipeline.recipe import EngineRecord, Recipe

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras


@dataclass(frozen=True)
class Network:
    """A frozen network before any engine runs it.

    Args:
        build: makes the Keras model from float32 RGB 0..255 (n, height, width, 3) to one row per
            image. An engine that computes in another process calls it there, if it can be pickled.
        precision: `float32`, `mixed_float16` or `mixed_bfloat16`.
        recipe: what decides the network's numbers; None where it is no backbone's own network,
            such as a fine-tuned one.
        identity: all that decides the network but for the precision, as text; None where that is
            not known.
        store: where an engine may keep the network in a form of its own; None for nowhere.
        is_fast: on a GPU take the fastest kernels of a trial, with which equal images get equal
            rows in one process, but not in every one.
    """

    build: Callable[[], "keras.Model"]
    precision: str = "float32"
    recipe: Recipe | None = None
    identity: str | None = None
    store: NetworkStore | None = None
    is_fast: bool = False

    @cached_property
    def model(self) -> "keras.Model":
        """The Keras model, built in this process when it is first asked for."""
        return self.build()


def identify_network(recipe: Recipe) -> str:
    """The identity of a backbone's own network, as canonical JSON."""
    names = (
        "backbone weights image_size channel_order scale offset layer pooling"  # not the decoder's
    ).split()
    return json.dumps({name: getattr(recipe, name) for name in names}, sort_keys=True)


class Engine(Protocol):
    """A frozen network that is ready to run. Any number of threads may call it at once.

    Args:
        name: in the registry.
        version: of the engine's library.
        device: where it computes.
        precision: of the computation.
        batch_size: images per call, no more.
        takes_fewer: whether a call may have fewer; the rest of its batch is padded otherwise.
        n_streams: calls that may run side by side.
        n_features: columns of a row.
        notes: what people should know of it.
    """

    name: str
    version: str
    device: Device
    precision: str
    batch_size: int
    takes_fewer: bool
    n_streams: int
    n_features: int
    notes: list[str]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Rows of one batch.

        Args:
            pixels: uint8 RGB (n_images, height, width, 3).

        Returns:
            float32 (n_images, n_features).

        Raises:
            DeviceError: the batch does not fit the device's memory.
        """
        ...

    def advise(self) -> list[str]:
        """How the next extraction could be faster, measured; may take a second."""
        ...


# Called with the network, the device, and images per call and calls side by side, where None
# means what suits the device.
OpenEngine = Callable[[Network, Device, int | None, int | None], Engine]


class CannotRunError(Exception):
    """The engine lacks something that this network needs; another engine may have it."""


def describe_engine(engine: Engine, *, is_fast: bool = False) -> EngineRecord:
    """What is recorded beside the rows that an engine computes."""
    return EngineRecord(
        name=engine.name,
        version=engine.version,
        device=engine.device.kind,
        device_name=engine.device.model,
        compute_capability=engine.device.compute_capability,
        precision=engine.precision,
        n_threads=engine.n_streams,
        batch_size=engine.batch_size,
        is_fast=is_fast and engine.device.is_gpu,
    )
