"""OpenVINO as an engine: a CPU's vector and matrix units, in float32 and bfloat16.

A stream is one thread with one call at a time, so that as many batches as there are cores run side
by side and an image's bits depend neither on its place nor on how many streams there are.
`docs/performance.md` has the figures that decided this.
"""

import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median

import numpy as np

from pipeline.backbones.engines.device import Device, describe_cpu
from pipeline.backbones.engines.engine import CannotRunError, Network
from pipeline.backbones.engines.network_store import ConvertedNetwork
from pipeline.backbones.engines.openvino_compiled import (
    BFLOAT16,
    HINTS,
    MOST_BYTES_KEPT,
    CompiledNetwork,
    KeptCompiled,
    ReadNetwork,
    Way,
    has_bfloat16,
    last_line,
)
from pipeline.errors import EngineError
from pipeline.system.openvino_runtime import openvino
from pipeline.system.parallel import map_batches
from pipeline.system.quiet_start import no_start_up_talk

_WORTH_SAYING = 1.5  # times as fast
_TURNS = 5
_TURN_SECONDS = 0.2  # of processor time
_TRIAL_TURNS = 6  # of each way, with as many calls a turn as there are streams


class OpenVINOEngine:
    """A frozen network in OpenVINO.

    It is compiled twice, for whole batches when the first one comes and for one image; fewer images
    than a batch run one by one, so that one photo does not cost a batch. Both give the same bits on
    all processors seen; that is checked, and where it is not so, batches are padded. Elsewhere
    whole batches run one by one in float32, too, if the first ones were faster that way: networks
    differ in that. In bfloat16 rates swing by more than the two ways differ, and a trial misled.

    Args:
        network: what to run.
        device: a CPU.
        batch_size: images per call, None for what suits the device.
        n_streams: calls side by side, None for what suits the device.

    Raises:
        CannotRunError: OpenVINO has no such operation, or does not compute in that precision.
    """

    name = "openvino"
    takes_fewer = True

    def __init__(
        self,
        network: Network,
        device: Device,
        batch_size: int | None = None,
        n_streams: int | None = None,
    ):
        if network.precision not in HINTS:
            raise CannotRunError(
                f"it does not compute in {network.precision.removeprefix('mixed_')}"
            )
        self.version = openvino.__version__.split("-")[0]
        self.device = device
        self.precision = network.precision
        self.batch_size = batch_size or device.batch_size
        self.n_streams = n_streams or device.n_streams
        self.notes: list[str] = []
        if self.precision == BFLOAT16 and not has_bfloat16():
            self.precision = "float32"
            self.notes.append(
                "This processor has no units for bfloat16, so float32 is computed, at the speed "
                "of float32."
            )
        self._network = network
        self._kept: KeptCompiled | None = None
        if network.identity is not None and network.store is not None:
            self._kept = KeptCompiled(network.store, network.identity)
            network.store.mark_used(network.identity, self.name, self.version)
        self._compiling = threading.Lock()
        try:
            self._one = self._open(1)
        except EngineError as error:
            raise CannotRunError(str(error)) from error
        self._run_singly = OneByOne(self._one)
        self.n_features = self._one.n_features
        self._whole = self._one if self.batch_size == 1 else None
        self._run_batch: Callable[[np.ndarray], np.ndarray] = self._one
        self._pads = False

    @cached_property
    def _read(self) -> ReadNetwork:
        """Needed only for what is not kept compiled."""
        read = ReadNetwork(self._find(self._network))
        del self._network  # and its Keras model, if that was built
        return read

    def _find(self, network: Network) -> ConvertedNetwork:
        """From the store, else converted and put there."""
        if network.identity is None or network.store is None:
            return convert_to_openvino(network)
        key = network.identity, self.name, self.version
        converted = network.store.read(*key)
        if converted is None:
            self.notes += network.store.explain(*key)
            converted = convert_to_openvino(network)
            self.notes += network.store.write(*key, converted)
        return converted

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        n_images = len(pixels)
        if n_images == self.batch_size:
            self._take_whole()
            return self._run_batch(pixels)
        if not self._pads:
            return self._run_singly(pixels)
        batch = np.zeros((self.batch_size, *pixels.shape[1:]), np.uint8)
        batch[:n_images] = pixels
        return self._take_whole()(batch)[:n_images]

    def _take_whole(self) -> CompiledNetwork:
        """What runs whole batches, made when the first one comes."""
        with self._compiling:
            if self._whole is None:
                whole = self._open(self.batch_size)
                shape = self.batch_size, *self._one.image_shape
                noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
                self._pads = not np.array_equal(whole(noise), self._run_singly(noise))
                self._run_batch = whole
                if self.precision == "float32" and not self._pads:
                    self._run_batch = FasterWay((whole, self._run_singly), self.n_streams)
                self._whole = whole
            return self._whole

    def _open(self, batch_size: int) -> CompiledNetwork:
        """From the store, else compiled and put there."""
        way = Way(self.precision, batch_size, self.n_streams)
        compiled = None if self._kept is None else self._kept.open(way, self.notes)
        if compiled is None:
            compiled = self._read.compile(way)
            if self._kept is not None and self._read.n_bytes <= MOST_BYTES_KEPT:
                self._kept.keep(way, compiled)
        return compiled

    def advise(self) -> list[str]:
        """Names bfloat16 where it is much faster here; both are timed with this very network, one
        after the other, since both at once would be the most memory that the extraction takes.
        """
        if self.precision == BFLOAT16 or not has_bfloat16():
            return []
        rate = measure_rate(self._take_whole(), self.batch_size, self.n_streams)
        self._whole, self._run_batch = None, self._one  # another is made if a batch comes
        other = self._read.compile(Way(BFLOAT16, self.batch_size, self.n_streams))
        ratio = measure_rate(other, self.batch_size, self.n_streams) / rate
        if ratio < _WORTH_SAYING:
            return []
        return [
            f"`precision='bfloat16'` runs this network {ratio:.1f} times as fast on this processor "
            "(a few batches were timed); features then agree to 2 or 3 digits."
        ]


@dataclass(frozen=True)
class OneByOne:
    """Runs the images of a batch one after the other. It is no method of the engine, which would
    then hold itself by way of `FasterWay`, and its memory until Python looks for such circles.
    """

    run: Callable[[np.ndarray], np.ndarray]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return np.concatenate([self.run(pixels[row : row + 1]) for row in range(len(pixels))])


class FasterWay:
    """Of several ways to the same rows the one that is fastest; they take turns on the first
    batches, so that what is timed is the work itself. Any number of threads may call it.

    Args:
        ways: that give the same bits; of two that are equally fast the first is taken.
        n_streams: calls side by side, which take the same way in each turn.
        clock: gives seconds.
    """

    def __init__(
        self,
        ways: Sequence[Callable[[np.ndarray], np.ndarray]],
        n_streams: int,
        clock: Callable[[], float] = time.perf_counter,
    ):
        self._ways = ways
        self._clock = clock
        self._lock = threading.Lock()
        turns = list(range(len(ways))) * _TRIAL_TURNS
        self._waiting = [way for way in turns for _ in range(n_streams)][::-1]
        self._seconds: list[list[float]] = [[] for _ in ways]
        self._n_trials = len(self._waiting)
        self._fastest = 0

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        with self._lock:
            is_trial = bool(self._waiting)
            way = self._waiting.pop() if is_trial else self._fastest
        started = self._clock()
        rows = self._ways[way](pixels)
        if is_trial:
            self._note(way, self._clock() - started)
        return rows

    def _note(self, way: int, seconds: float) -> None:
        with self._lock:
            self._seconds[way].append(seconds)
            if sum(map(len, self._seconds)) == self._n_trials:
                medians = [median(taken) for taken in self._seconds]
                self._fastest = medians.index(min(medians))


def measure_rate(network: CompiledNetwork, batch_size: int, n_streams: int) -> float:
    """Batches of blank images in a second of processor time, in which what else runs on the machine
    has no part: the median of a few turns.
    """
    batch = np.zeros((batch_size, *network.image_shape), np.uint8)
    rates = []
    for _ in range(_TURNS):
        n_batches, start = 0, time.process_time()
        while time.process_time() - start < _TURN_SECONDS:
            for _ in map_batches(network, [batch] * 2 * n_streams, n_streams):
                n_batches += 1
        rates.append(n_batches / (time.process_time() - start))
    return median(rates)


def convert_to_openvino(network: Network) -> ConvertedNetwork:
    """The network as OpenVINO's own graph, in float32, for batches of any size.

    It goes by way of TensorFlow's frozen graph in a file, which OpenVINO reads itself: its
    `convert_model` would report to its makers.

    Raises:
        CannotRunError: OpenVINO has no such operation.
    """
    with tempfile.TemporaryDirectory(prefix="frostline-openvino-") as folder:
        frozen, target = Path(folder, "frozen.pb"), Path(folder, "network.xml")
        _write_frozen_graph(network, frozen)
        try:
            openvino.save_model(openvino.Core().read_model(frozen), target, compress_to_fp16=False)
        except RuntimeError as error:
            raise CannotRunError(last_line(error)) from error
        return ConvertedNetwork(
            graph=target.read_bytes(),
            weights=target.with_suffix(".bin").read_bytes(),
            n_features=int(network.model.output_shape[-1]),
        )


def _write_frozen_graph(network: Network, path: Path) -> None:
    """A function of its own, so that the graph is gone when OpenVINO takes as much memory."""
    with no_start_up_talk():
        from pipeline.backbones.engines.tensorflow_graph import freeze, trace

    graph = freeze(trace(network.model, None, describe_cpu())).graph.as_graph_def()
    path.write_bytes(graph.SerializeToString())
