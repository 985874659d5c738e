"""What the machine has, and how busy its card is: NVIDIA's own words."""

import contextlib
import shutil
import subprocess
import threading
from collections.abc import Iterator

from benchmarks.gpu_parts.bench import Bench, describe
from pipeline.backbones.engines.opening import find_device

SECONDS_A_LOOK = 0.25


def measure_card(bench: Bench) -> None:
    """What the machine has, as the library sees it."""
    device = find_device(bench.arguments.device, bench.arguments.engine)
    bench.facts["device"] = vars(device)
    wanted = "name,driver_version,memory.total,memory.used,compute_cap"
    bench.facts["nvidia-smi"] = ask_card(wanted)
    print(f"  {device}\n  {wanted}: {bench.facts['nvidia-smi']}")


@contextlib.contextmanager
def watch_card() -> Iterator[list[int]]:
    """Percents of time in which the card computed, four times a second; empty without NVIDIA's."""
    seen: list[int] = []
    if shutil.which("nvidia-smi") is None:
        yield seen
        return
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
    with subprocess.Popen(
        [*command, "-lms", f"{1000 * SECONDS_A_LOOK:.0f}"], stdout=subprocess.PIPE, text=True
    ) as watcher:

        def read() -> None:
            for line in watcher.stdout or ():
                with contextlib.suppress(ValueError):
                    seen.append(int(line.strip()))

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            yield seen
        finally:
            watcher.kill()
            reader.join()


def ask_card(what: str, query: str = "gpu") -> str:
    """What nvidia-smi says, or why it does not."""
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-{query}={what}", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return describe(error)
    return (done.stdout or done.stderr).strip()
