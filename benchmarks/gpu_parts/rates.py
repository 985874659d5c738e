"""Images a second from memory: through the engine, and of the device alone."""

import contextlib
import threading
import time

import numpy as np

from benchmarks.gpu_parts.bench import BACKBONE, PRECISIONS, Bench
from benchmarks.gpu_reference import describe_network, make_images

FEEDERS = 4  # threads that hand batches to the engine
SECONDS_A_RATE = 1.5


def measure_rates(bench: Bench) -> None:
    """Images/s from pixels in memory, through the engine, with threads that feed it."""
    alone = threading.Lock()

    def measure(name: str, precision: str, batch_size: int) -> dict:
        started = time.perf_counter()
        embed = bench.open(name, precision, batch_size)
        opened = time.perf_counter() - started
        pixels = bench.images(32).repeat(-(-batch_size // 32), 0)[:batch_size]
        with alone:
            rate = time_rate(embed, pixels)
        return {
            "network": name,
            "precision": precision,
            "batch": batch_size,
            "taken": embed.batch_size,
            "images/s": rate,
            "seconds to open": opened,
        }

    bench.prepare_weights()
    names = [name for name in ("efficientnetb0", "resnet50") if name in bench.arguments.networks]
    sizes = bench.arguments.batch_sizes
    cases = [(n, way, size) for size in sizes for n in names for way in PRECISIONS[:2]]
    bench.try_each(cases, measure)


def time_rate(embed, pixels: np.ndarray) -> float:
    """Images/s of whole batches from several threads, after one to warm up."""
    from pipeline.system.parallel import map_batches

    started = time.perf_counter()
    embed(pixels)
    once = time.perf_counter() - started
    n_calls = max(2 * FEEDERS, int(SECONDS_A_RATE / once))
    started = time.perf_counter()
    for _ in map_batches(embed, [pixels] * n_calls, FEEDERS):
        continue
    return n_calls * len(pixels) / (time.perf_counter() - started)


def measure_device(bench: Bench) -> None:
    """Images/s of the device alone, from its own memory, with and without trials of kernels.

    At one batch size: a trial takes 10 to 20 seconds for each.
    """
    from pipeline.backbones.engines.recipe_network import describe_network as network_of
    from pipeline.system.child_process import HelperProcess

    if bench.arguments.engine != "jax":
        print("  only for the JAX engine")
        return
    alone = threading.Lock()
    size = bench.arguments.batch_size

    def measure(precision: str, kernels: str) -> dict:
        recipe, weights = describe_network(bench.reference, BACKBONE, bench.folder, precision)
        build = network_of(recipe, weights).build
        is_deterministic = kernels == "deterministic"
        row = {"network": BACKBONE, "precision": precision, "kernels": kernels}
        # Trials of kernels and the measurements of others would disturb each other.
        with HelperProcess() as helper, alone if not is_deterministic else contextlib.nullcontext():
            kind = "cpu" if bench.arguments.device == "cpu" else "gpu"
            helper.call(Alone.build, build, kind, is_deterministic)
            seconds = helper.call(Alone.compile, size, precision)
            with contextlib.nullcontext() if not is_deterministic else alone:
                rate = helper.call(Alone.measure, SECONDS_A_RATE)
        return row | {"batch": size, "images/s": rate, "seconds to compile": seconds}

    ways = ("deterministic", "the fastest of a trial")
    bench.try_each([(p, way) for way in ways for p in ("mixed_bfloat16", "float32")], measure)


class Alone:
    """A network in a process with JAX; it stays there from call to call."""

    _model = _run = _pixels = _device = None

    @classmethod
    def build(cls, build, kind: str, is_deterministic: bool) -> None:
        from pipeline.backbones.engines.jax_process import build_network

        cls._model, cls._device = build_network(build, kind, 0, is_deterministic=is_deterministic)

    @classmethod
    def compile(cls, batch_size: int, precision: str) -> float:
        import jax

        from pipeline.backbones.engines.jax_process import compile_network

        started = time.perf_counter()
        cls._run = compile_network(cls._model, batch_size, precision, cls._device)
        seconds = time.perf_counter() - started
        pixels = make_images(batch_size, cls._model.input_shape[1], 2)
        cls._pixels = jax.device_put(pixels, cls._device)
        return seconds

    @classmethod
    def measure(cls, seconds: float) -> float:
        started = time.perf_counter()
        cls._run(cls._pixels).block_until_ready()
        n_calls = max(3, int(seconds / (time.perf_counter() - started)))
        started = time.perf_counter()
        rows = [cls._run(cls._pixels) for _ in range(n_calls)]
        rows[-1].block_until_ready()
        return n_calls * len(cls._pixels) / (time.perf_counter() - started)
