"""Runs one part of `gpu.py`."""

import traceback
from collections.abc import Callable

from benchmarks.gpu_parts.bench import Bench, describe
from benchmarks.gpu_parts.card import measure_card
from benchmarks.gpu_parts.extractions import measure_extract, measure_kill
from benchmarks.gpu_parts.memory import measure_memory
from benchmarks.gpu_parts.opening import measure_opening
from benchmarks.gpu_parts.predictions import measure_predict
from benchmarks.gpu_parts.rates import measure_device, measure_rates
from benchmarks.gpu_parts.rows import measure_bits, measure_parity
from benchmarks.gpu_parts.together import measure_together
from pipeline.backbones.engines.opening import find_device

MEASURES: dict[str, Callable[[Bench], None]] = {
    "card": measure_card,
    "opening": measure_opening,
    "parity": measure_parity,
    "bits": measure_bits,
    "extract": measure_extract,
    "predict": measure_predict,
    "together": measure_together,
    "kill": measure_kill,
    "memory": measure_memory,
    "rates": measure_rates,
    "device": measure_device,
}


def measure_part(part: str, arguments) -> int:
    """Runs one part; what it found lies in the folder. Returns an exit code."""
    bench = Bench(arguments)
    try:
        find_device(arguments.device, arguments.engine)  # before several threads ask
        MEASURES[part](bench)
        bench.save()
    except Exception as error:
        traceback.print_exc()
        bench.save(failed=describe(error))
        return 1
    return int(any("failed" in row for row in bench.rows))
