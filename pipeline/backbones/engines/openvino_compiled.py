"""A network that OpenVINO has compiled, and the store's copy of it, which opens in half the time.

A copy is bound to the processor, to OpenVINO's build and to how the network is run; all of that is
in the name under which it is kept, and the store's seal is over every byte of it. What is not there
or not to be trusted is compiled from the converted network, and gives the same bits.
"""

import hashlib
import queue
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.backbones.engines.device import read_cpu_model
from pipeline.backbones.engines.network_store import ConvertedNetwork, NetworkStore
from pipeline.errors import EngineError
from pipeline.system.openvino_runtime import openvino
from pipeline.system.signal_stack import signal_stack_kept

BFLOAT16 = "mixed_bfloat16"
HINTS = {"float32": "f32", BFLOAT16: "bf16"}
# Of larger networks a row costs so much that the tenths of a second saved are not worth the disk.
MOST_BYTES_KEPT = 128_000_000
_KEPT_AS = "openvino, compiled"
_CPU_FACTS = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Way:
    """How a network is run.

    Args:
        precision: `float32` or `mixed_bfloat16`.
        batch_size: images per call.
        n_streams: calls side by side, a thread each.
    """

    precision: str
    batch_size: int
    n_streams: int

    @property
    def settings(self) -> dict[str, Any]:
        """OpenVINO's names for it."""
        return {
            "INFERENCE_PRECISION_HINT": HINTS[self.precision],
            "NUM_STREAMS": self.n_streams,
            "INFERENCE_NUM_THREADS": self.n_streams,
            "ENABLE_CPU_PINNING": False,  # other processes use these cores, too
        }


class CompiledNetwork:
    """A network that is compiled for batches of one size; any number of threads may call it.

    Args:
        compiled: OpenVINO's own object.
        n_streams: calls side by side.
        n_features: columns of a row.
    """

    def __init__(self, compiled: Any, n_streams: int, n_features: int):
        self._compiled = compiled
        self.n_features = n_features
        self._idle: queue.SimpleQueue[Any] = queue.SimpleQueue()
        for _ in range(n_streams):
            request = compiled.create_infer_request()
            # Here, by one thread: the first array that is made of a tensor starts numpy's
            # interface in OpenVINO, and two threads that do so at once wait for each other for
            # ever (seen).
            _ = request.get_input_tensor(0).data
            self._idle.put(request)
        self.image_shape = tuple(compiled.input(0).shape)[1:]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        request = self._idle.get()
        try:
            request.infer([np.ascontiguousarray(pixels)])
            rows: np.ndarray = request.get_output_tensor(0).data.copy()
            return rows
        finally:
            self._idle.put(request)

    def to_bytes(self) -> bytes:
        """As OpenVINO imports it again."""
        exported: bytes = self._compiled.export_model().getvalue()
        return exported


class ReadNetwork:
    """A converted network as OpenVINO holds it; what it was read from need not be kept.

    Raises:
        EngineError: OpenVINO cannot read it, mostly for want of memory.
    """

    def __init__(self, converted: ConvertedNetwork):
        self.n_features = converted.n_features
        self.n_bytes = len(converted.weights)
        with _named("read it"):
            self._model = openvino.Core().read_model(converted.graph, converted.weights)

    def compile(self, way: Way) -> CompiledNetwork:
        """Compiles for this processor.

        Raises:
            EngineError: OpenVINO cannot compile it here, mostly for want of memory.
        """
        with _named("compile it"):
            model = self._model.clone()  # the weights are those of the one
            model.reshape([way.batch_size, *list(model.input(0).partial_shape)[1:]])
            compiled = openvino.Core().compile_model(model, "CPU", way.settings)
            return CompiledNetwork(compiled, way.n_streams, self.n_features)


class KeptCompiled:
    """The compiled networks of one converted network in the store.

    Args:
        store: with the seal that only this user can make.
        identity: of the network, as `Network` has it.
    """

    def __init__(self, store: NetworkStore, identity: str):
        self._store = store
        self._identity = identity

    def open(self, way: Way, notes: list[str]) -> CompiledNetwork | None:
        """What this user's OpenVINO compiled for this processor; None where there is none to use.

        Args:
            notes: takes what people should know.
        """
        kept = self._store.read(*self._key(way))
        if kept is None:
            notes += self._store.explain(*self._key(way))
            return None

        try:
            with _named("open its own compiled copy"):
                compiled = openvino.Core().import_model(kept.graph, "CPU", way.settings)
                return CompiledNetwork(compiled, way.n_streams, kept.n_features)
        except EngineError as error:
            notes.append(f"{error}. So it was compiled anew.")
            return None

    def keep(self, way: Way, compiled: CompiledNetwork) -> None:
        """Keeps one for the next start, where that can be done.

        That it cannot is not worth a word: the next start compiles again, a tenth of a second.
        """
        with suppress(RuntimeError):  # OpenVINO's, such as for want of memory
            data = compiled.to_bytes()
            self._store.write(*self._key(way), ConvertedNetwork(data, b"", compiled.n_features))

    def _key(self, way: Way) -> tuple[str, str, str]:
        bound_to = (
            f"{self._identity}, compiled for {identify_processor()}: "
            f"{way.precision.removeprefix('mixed_')}, batches of {way.batch_size}, "
            f"{way.n_streams} streams"
        )
        return bound_to, _KEPT_AS, openvino.get_version()


def has_bfloat16() -> bool:
    """Whether the processor multiplies matrices in bfloat16."""
    return "BF16" in _list_capabilities()


@cache
def identify_processor() -> str:
    """All that compiled code could be bound to: the model, and a digest of the instruction sets
    that the system and OpenVINO name, since clouds call different processors by one name.
    """
    named = list(_list_capabilities())
    with suppress(OSError):
        named += re.findall(
            r"^(?:flags|Features|isa|cpu family|model|stepping|CPU part)\s*:.*$",
            _CPU_FACTS.read_text("utf-8").partition("\n\n")[0],
            re.MULTILINE,
        )
    digest = hashlib.sha256("\n".join(named).encode()).hexdigest()[:12]
    return f"{read_cpu_model()} {digest}"


def last_line(error: RuntimeError) -> str:
    """Of what OpenVINO raises, with a page of text."""
    return str(error).strip().splitlines()[-1][:200]


@contextmanager
def _named(what: str) -> Iterator[None]:
    """Names what OpenVINO could not do, and takes back the signal stack that it sets there."""
    try:
        with signal_stack_kept():
            yield
    except RuntimeError as error:  # all that OpenVINO raises
        raise EngineError(f"OpenVINO cannot {what}: {last_line(error)}") from error


def _list_capabilities() -> list[str]:
    with signal_stack_kept():
        found: list[str] = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return found
