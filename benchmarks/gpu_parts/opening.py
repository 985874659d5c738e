"""Where the seconds go before the first row: opening a network, taken apart."""

import time

from benchmarks.common import print_table
from benchmarks.gpu_parts.bench import BACKBONE, Bench
from benchmarks.gpu_parts.rates import Alone
from benchmarks.gpu_reference import describe_network


def measure_opening(bench: Bench) -> None:
    """Seconds of each step that the JAX engine takes for a network, one after the other, twice.

    The first time Python's modules may come from a disk that has not read them yet.
    """
    from pipeline.backbones.engines.jax_process import list_gpus
    from pipeline.backbones.engines.recipe_network import describe_network as network_of
    from pipeline.system.child_process import HelperProcess

    if bench.arguments.engine != "jax":
        print("  only for the JAX engine")
        return
    kind = "cpu" if bench.arguments.device == "cpu" else "gpu"
    for precision in ("float32", "float32", "mixed_bfloat16"):
        recipe, weights = describe_network(bench.reference, BACKBONE, bench.folder, precision)
        build = network_of(recipe, weights).build
        row: dict[str, object] = {"precision": precision}
        started = time.perf_counter()
        with HelperProcess() as helper:
            helper.call(list_gpus)
        row["a process lists the GPUs, and ends"] = time.perf_counter() - started
        started = time.perf_counter()
        with HelperProcess() as helper:
            row |= helper.call(import_libraries, kind)
            row["process and imports"] = time.perf_counter() - started
            started = time.perf_counter()
            helper.call(Alone.build, build, kind, True)
            row["the network is built"] = time.perf_counter() - started
            row["compiled"] = helper.call(Alone.compile, bench.arguments.batch_size, precision)
            started = time.perf_counter()
        row["the process ends"] = time.perf_counter() - started
        bench.rows.append(row)
        bench.save()
    print_table(list(bench.rows[0]), [row.values() for row in bench.rows])


def import_libraries(kind: str) -> dict[str, float]:
    """In a child: seconds until JAX and Keras are there, and the device answers."""
    from pipeline.backbones.engines.jax_process import _set_environment
    from pipeline.system.keras_backend import ask_for_keras_on

    started = time.perf_counter()
    _set_environment(is_deterministic=kind == "gpu")
    ask_for_keras_on("jax")
    import jax

    imported_jax = time.perf_counter()
    import pipeline.system.keras_on_tensorflow  # noqa: F401 - on the one that was asked for

    imported_keras = time.perf_counter()
    jax.devices(kind)
    return {
        "of them JAX": imported_jax - started,
        "Keras": imported_keras - imported_jax,
        "the device": time.perf_counter() - imported_keras,
    }
