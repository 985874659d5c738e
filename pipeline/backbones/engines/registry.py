"""The engines there are. A new one is a module and an entry here."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from pipeline.backbones.engines.device import Device
from pipeline.backbones.engines.embedder import Embedder
from pipeline.backbones.engines.engine import CannotRunError, Network, OpenEngine
from pipeline.errors import EngineError

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras

_HERE = "pipeline.backbones.engines"


@dataclass(frozen=True)
class EngineKind:
    """One engine. What it names is imported when the engine is first used.

    Args:
        name: the key; recorded beside the rows that it computes.
        title: its name in sentences.
        opens: `module:function` of (network, device, batch_size, n_streams) that gives an
            `Engine`; see `OpenEngine`. It raises `CannotRunError` for what it cannot run.
        devices: the kinds it serves: `cpu`, `gpu`.
        finds_device: `module:function` from `auto`, `cpu`, `gpu` or `gpu:N` to a `Device`; see
            `choose_device`.
        sets_up: `module:function` called before the engine is opened in a process that does
            nothing but embed; its settings hold for the whole process.
    """

    name: str
    title: str
    opens: str
    devices: tuple[str, ...]
    finds_device: str = f"{_HERE}.device:choose_device"
    sets_up: str | None = None


# Of those that serve a device the first one is taken that can run the network.
ENGINES: dict[str, EngineKind] = {
    kind.name: kind
    for kind in (
        EngineKind("openvino", "OpenVINO", f"{_HERE}.openvino_cpu:OpenVINOEngine", ("cpu",)),
        EngineKind(
            "tensorflow",
            "TensorFlow",
            f"{_HERE}.tensorflow_graph:TensorFlowEngine",
            ("cpu", "gpu"),
            sets_up=f"{_HERE}.device:use_one_thread_per_operation",
        ),
    )
}


def open_embedder(
    network: Network,
    device: str | Device = "auto",
    *,
    engine: str | None = None,
    batch_size: int | None = None,
    n_streams: int | None = None,
    is_alone: bool = False,
) -> Embedder:
    """Makes a network ready to embed.

    Args:
        network: what to run.
        device: `auto`, `cpu`, `gpu` or `gpu:N`; or a device that was chosen before.
        engine: a key of `ENGINES`, None for the first that can.
        batch_size: images per call of the network, None for what suits the device.
        n_streams: calls that run side by side, None for what suits the device.
        is_alone: this process does nothing but embed, so libraries may be set up for that for
            good.

    Raises:
        EngineError: no such engine, or it does not serve the device or cannot run the network.
        DeviceError: a GPU was asked for and is not there.
    """
    kinds = list(ENGINES.values()) if engine is None else [find_engine(engine)]
    chosen = device if isinstance(device, Device) else _find_device(kinds[0], device)
    able = [kind for kind in kinds if chosen.kind in kind.devices]
    if not able:
        raise EngineError(
            f"This engine does not compute there. Expected one for {chosen.description}: "
            f"{_list_engines(chosen.kind)}. Received: `engine={engine}`"
        )
    network = replace(network, build=cache(network.build))
    reasons: list[str] = []
    for kind in able:
        open_engine: OpenEngine = _load(kind.opens)
        if is_alone and kind.sets_up is not None:
            _load(kind.sets_up)()
        try:
            embedder = Embedder(open_engine(network, chosen, batch_size, n_streams))
        except CannotRunError as error:
            reasons.append(f"{kind.title} cannot run this network ({error})")
            continue
        embedder.notes += [f"{reason}; {kind.title} does, more slowly." for reason in reasons]
        return embedder
    raise EngineError(
        f"{'; '.join(reasons)}. Expected one that an engine for {chosen.description} can run. "
        f"Received: `engine={engine}`\nLeave `engine` out, so that others are tried."
    )


def _find_device(kind: EngineKind, wanted: str) -> Device:
    found: Device = _load(kind.finds_device)(wanted)
    return found


def open_model(
    model: "keras.Model",
    device: Device,
    *,
    batch_size: int | None = None,
    n_streams: int | None = None,
    precision: str = "float32",
    is_alone: bool = False,
) -> Embedder:
    """`open_embedder` for a Keras model that is there already.

    Args:
        model: from float32 RGB 0..255 (n, height, width, 3) to one row per image.
        device: from `choose_device`.
    """
    network = Network(lambda: model, precision)
    return open_embedder(
        network, device, batch_size=batch_size, n_streams=n_streams, is_alone=is_alone
    )


def find_engine(name: str) -> EngineKind:
    """The engine of that name.

    Raises:
        EngineError: there is none.
    """
    if name not in ENGINES:
        raise EngineError(
            f"There is no such engine. Expected one of {', '.join(ENGINES)}. "
            f"Received: `engine={name}`"
        )
    return ENGINES[name]


def _list_engines(device_kind: str) -> str:
    return ", ".join(kind.name for kind in ENGINES.values() if device_kind in kind.devices)


def _load(reference: str) -> Callable[..., Any]:
    """What `module:name` refers to."""
    module, _, name = reference.partition(":")
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return loaded
