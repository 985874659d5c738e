"""What all measurements share: a description of the machine, tables, JSON, and timed processes."""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
THREAD_SETTINGS = (
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "CUDA_VISIBLE_DEVICES"),
)


@dataclass(frozen=True)
class Usage:
    """What a process took: wall and processor seconds, and its peak memory in bytes."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options of every benchmark: `--short` and `--json FILE`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="a form that takes seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    return parser


def describe_machine(packages: Iterable[str] = ("numpy", "scikit-learn", "tensorflow", "keras")):
    """Cores, processor, load, versions and thread settings, as a dict for JSON.

    A package that is not installed is said to be missing.
    """
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "system": platform.platform(),
        "processor": _name_processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "load_average": round(os.getloadavg()[0], 2),
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in packages}},
        "threads": {name: os.environ.get(name, "not set") for name in THREAD_SETTINGS},
    }


def _name_processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def print_machine(machine: dict) -> None:
    """The machine in three lines."""
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    threads = ", ".join(f"{name}={value}" for name, value in machine["threads"].items())
    print(
        f"{machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_bytes'] / 1e9:.0f} GB, load {machine['load_average']} at the start"
    )
    print(versions)
    print(threads, end="\n\n", flush=True)


def print_table(columns: list[str], rows: Iterable[Iterable]) -> None:
    """Text to the left, numbers to the right; None is a dash."""
    cells = [[_to_text(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in [columns, ["-" * width for width in widths], *cells]:
        first, *others = (
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join([first, *others]).rstrip())
    print(flush=True)


def _to_text(value) -> str:
    if value is None:
        return "-"
    return (
        f"{value:.4g}"
        if isinstance(value, float)
        else f"{value:,}"
        if isinstance(value, int)
        else str(value)
    )


def write_results(path: Path | None, machine: dict, results) -> None:
    """Writes machine and results as JSON, if a path was given."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine, "results": results}, indent=2) + "\n")


def run_process(command: list) -> Usage:
    """Runs a whole process in the project's folder, as people's Python does: with compiled modules
    kept, whatever the environment here says (without them each start costs 0.3 s more).

    Keep the calling process small: a child's peak is never below its parent's at its start.

    Raises:
        RuntimeError: it failed; with what it said.
    """
    environment = {**os.environ}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryFile() as said:
        start = time.perf_counter()
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            env=environment,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(f"{command} failed:\n{said.read().decode(errors='replace')}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Usage(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss * unit)


def median_usage(usages: list[Usage]) -> dict:
    """Medians of time, the greatest peak, and all of them as they were measured."""
    return {
        "seconds": statistics.median(usage.seconds for usage in usages),
        "cpu_seconds": statistics.median(usage.cpu_seconds for usage in usages),
        "peak_bytes": max(usage.peak_bytes for usage in usages),
        "runs": [asdict(usage) for usage in usages],
    }


def alternate(tasks: dict[str, Callable[[], Usage]], n_times: int) -> dict[str, list[Usage]]:
    """Runs all tasks in turn, so many times over: what disturbs the machine disturbs all alike."""
    usages: dict[str, list[Usage]] = {name: [] for name in tasks}
    for _ in range(n_times):
        for name, task in tasks.items():
            usages[name].append(task())
    return usages
