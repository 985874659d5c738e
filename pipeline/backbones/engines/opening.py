"""Finds where to compute and opens a network there, in the first engine that can run it."""

from dataclasses import replace
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from pipeline.backbones.engines.device import Device, describe_cpu, require_device_name
from pipeline.backbones.engines.embedder import Embedder
from pipeline.backbones.engines.engine import CannotRunError, Network, OpenEngine
from pipeline.backbones.engines.registry import ENGINES, EngineKind, find_engine
from pipeline.errors import DeviceError, EngineError, MissingExtraError
from pipeline.recipe import TF32

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras


def find_device(
    wanted: str = "auto", engine: str | None = None, preferred: str | None = None
) -> Device:
    """Finds where to compute; where the first library sees no GPU, the others are asked.

    Args:
        wanted: `auto`, `cpu`, `gpu` or `gpu:N`.
        engine: a key of `ENGINES`, None for any.
        preferred: see `open_embedder`; its library is asked first for a GPU.

    Returns:
        The device; what keeps a library from seeing a GPU is among its notes.

    Raises:
        EngineError: no such engine.
        DeviceError: a GPU was asked for and none of them sees it.
        MissingExtraError: the engine's library is not installed.
    """
    kinds = _kinds(engine, None if wanted == "cpu" else preferred)
    finders = list(dict.fromkeys(kind.finds_device for kind in kinds))
    found: Device | DeviceError
    try:
        found = resolve_name(finders[0])(wanted)
    except MissingExtraError:
        if engine is not None:
            raise
        return find_device(wanted)  # what is preferred is not installed
    except DeviceError as error:
        found = error
    if wanted == "cpu" or (isinstance(found, Device) and found.is_gpu):
        finders = finders[:1]
    notes: list[str] = []
    for finder in finders[1:]:
        try:
            other: Device = resolve_name(finder)(wanted)
        except MissingExtraError:  # not installed, so it has nothing to say
            continue
        except DeviceError as error:
            notes.append(str(error))
            continue
        if other.is_gpu:
            return other
        notes += other.notes
    if isinstance(found, DeviceError):
        raise DeviceError("\n".join([str(found), *notes]))
    return replace(found, notes=(*found.notes, *notes))


def require_device(wanted: str, engine: str | None, *, in_processes: bool = False) -> None:
    """Raises where a GPU was asked for that cannot be used, even if there is nothing to compute.

    Args:
        in_processes: whether processes are to compute, each with a network of its own.

    Raises:
        DeviceError: there is no such device, or it is one that processes are not to share.
    """
    kind, _ = require_device_name(wanted)
    if kind == "cpu" or (kind == "auto" and not in_processes):
        return
    found = find_device(wanted, engine)
    if in_processes and found.is_gpu:
        raise DeviceError(
            f"Processes cannot share a GPU: each would keep a network of its own on "
            f"{found.description}, and wait for the others there. Expected processes that only "
            f"decode, or threads. Received: `parallel=processes` and `device={wanted}`\n"
            "Say `parallel=decoders`, or compute on the CPU: `device=cpu`."
        )


def open_embedder(
    network: Network,
    device: str | Device = "auto",
    *,
    engine: str | None = None,
    preferred: str | None = None,
    batch_size: int | None = None,
    n_streams: int | None = None,
    is_alone: bool = False,
) -> Embedder:
    """Makes a network ready to embed.

    Args:
        network: what to run.
        device: `auto`, `cpu`, `gpu` or `gpu:N`; or a device that was chosen before.
        engine: a key of `ENGINES`, None for the first that can.
        preferred: the engine to try first where none is asked for, such as the one that made the
            rows that are there; a name that is no engine's any more is passed over.
        batch_size: images per call of the network, None for what suits the device.
        n_streams: calls that run side by side, None for what suits the device.
        is_alone: this process does nothing but embed, so libraries may be set up for that for
            good.

    Raises:
        EngineError: no such engine, or it does not serve the device or cannot run the network.
        DeviceError: a GPU was asked for and cannot be used.
        MissingExtraError: the engine's library is not installed.
    """
    chosen = device if isinstance(device, Device) else find_device(device, engine, preferred)
    able = [kind for kind in _kinds(engine, preferred) if kind.serves(chosen)]
    if not able:
        raise EngineError(
            f"This engine does not compute there. Expected one for {chosen.description}: "
            f"{_list_engines(chosen)}. Received: `engine={engine}`"
        )
    reasons: list[str] = []
    if network.precision == TF32 and not chosen.is_gpu:
        network = replace(network, precision="float32")
        chosen = replace(
            chosen, notes=(*chosen.notes, "Only GPUs have TF32; the CPU computes in float32.")
        )
    for kind in able:
        open_engine: OpenEngine = resolve_name(kind.opens)
        if is_alone and kind.sets_up is not None:
            resolve_name(kind.sets_up)()
        try:
            opened = open_engine(network, chosen, batch_size, n_streams)
        except MissingExtraError:
            if kind.name != preferred or engine is not None:
                raise
            continue
        except CannotRunError as error:
            reasons.append(f"{kind.title} cannot run this network ({error})")
            continue
        embedder = Embedder(opened, is_fast=network.is_fast)
        embedder.notes += [f"{reason}; {kind.title} does, more slowly." for reason in reasons]
        return embedder
    if device == "auto" and chosen.is_gpu:
        embedder = open_embedder(
            network,
            describe_cpu(),
            engine=engine,
            preferred=preferred,
            batch_size=batch_size,
            n_streams=n_streams,
        )
        embedder.notes += [f"{reason}, so not on {chosen.description}." for reason in reasons]
        return embedder
    raise EngineError(
        f"{'; '.join(reasons)}. Expected one that an engine for {chosen.description} can run. "
        f"Received: `engine={engine}`\n" + _what_else_to_try(engine, chosen)
    )


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


def _kinds(engine: str | None, preferred: str | None = None) -> list[EngineKind]:
    if engine is not None:
        return [find_engine(engine)]
    first = [ENGINES[preferred]] if preferred in ENGINES else []
    return list(dict.fromkeys([*first, *ENGINES.values()]))


def _list_engines(device: Device) -> str:
    return ", ".join(kind.name for kind in ENGINES.values() if kind.serves(device))


def _what_else_to_try(engine: str | None, device: Device) -> str:
    if engine is not None:
        return "Leave `engine` out, so that others are tried."
    return "Compute on the CPU: `device=cpu`." if device.is_gpu else "Use another `backbone`."
