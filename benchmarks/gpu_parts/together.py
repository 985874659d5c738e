"""Several extractions at once on one card."""

import subprocess
import time

import numpy as np

from benchmarks.gpu_parts.bench import BACKBONE, Bench
from benchmarks.gpu_parts.card import watch_card
from benchmarks.gpu_parts.extractions import target_of

PRECISION = "mixed_bfloat16"


def measure_together(bench: Bench) -> None:
    """Whole processes that extract the same photos at once, with the cores divided among them."""
    import frostline

    bench.photos()
    n_processes = bench.arguments.extractions
    n_decoders = max(bench.arguments.decoders)
    targets = [bench.folder / f"together-{number}.h5" for number in range(n_processes)]
    started = time.perf_counter()
    with watch_card() as seen:
        processes = [
            subprocess.Popen(
                bench.command(target, PRECISION, max(1, n_decoders // n_processes)),
                cwd=bench.folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for target in targets
        ]
        said = [process.communicate()[1] for process in processes]
    seconds = time.perf_counter() - started
    bench.facts["extractions"] = n_processes
    bench.facts["decoders of each"] = n_decoders // n_processes
    bench.facts["seconds"] = seconds
    bench.facts["images/s"] = [find_rate(text) for text in said]
    bench.facts["busy, at most"] = max(seen, default=0) / 100 if seen else None
    for process, text in zip(processes, said, strict=True):
        if process.returncode:
            raise RuntimeError(f"one of them ended with {process.returncode}: {text[-600:]}")
    alone = target_of(bench, BACKBONE, bench.arguments.decoders[0])
    others = [alone, *targets] if alone.exists() else targets
    rows = [frostline.features(path).arrays().X for path in others]
    differ = [int((other != rows[0]).any(1).sum()) for other in rows[1:]]
    bench.facts["rows that differ from those of one alone"] = differ
    greatest = max(float(np.abs(other - rows[0]).max()) for other in rows[1:])
    bench.facts["greatest difference"] = greatest / float(np.abs(rows[0]).max())
    print(f"  {bench.facts}", flush=True)


def find_rate(said: str) -> str:
    """The line of `extract` that tells how fast it was."""
    return next((line.strip() for line in said.splitlines() if "images/s" in line), said[-200:])
