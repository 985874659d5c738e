"""The engines there are. A new one is a module and an entry here. Imports nothing heavy."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import EngineError

if TYPE_CHECKING:
    from pipeline.backbones.engines.device import Device

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
        library: that computes; a GPU serves the engines of the library that sees it.
        sets_up: `module:function` called before the engine is opened in a process that does
            nothing but embed; its settings hold for the whole process.
    """

    name: str
    title: str
    opens: str
    devices: tuple[str, ...]
    finds_device: str = f"{_HERE}.device:choose_device"
    library: str = "tensorflow"
    sets_up: str | None = None

    def serves(self, device: "Device") -> bool:
        """Whether it computes there."""
        is_seen = not device.is_gpu or device.seen_by == self.library
        return device.kind in self.devices and is_seen


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
        EngineKind(
            "jax",
            "JAX",
            f"{_HERE}.jax_engine:JaxEngine",
            ("cpu", "gpu"),
            finds_device=f"{_HERE}.jax_engine:find_jax_device",
            library="jax",
        ),
    )
}


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
