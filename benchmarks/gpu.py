"""For those who have a GPU: is it right there, and how fast?

Needs no network, and with `--engine jax` no TensorFlow. Each part runs in a process of its own,
says what it finds as it finds it, and takes no other part with it when it fails. `--short` takes
eight minutes at most. `--device cpu` with small sizes shows that it runs.

    python benchmarks/gpu.py --write-reference reference.npz        # once, where TensorFlow is
    python benchmarks/gpu.py --engine jax --short --reference reference.npz --json gpu.json
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.common import (  # noqa: E402
    describe_machine,
    make_parser,
    print_machine,
    write_results,
)
from benchmarks.gpu_reference import NETWORKS, write_reference  # noqa: E402

PACKAGES = ("jax", "jaxlib", "tensorflow", "keras", "numpy", "h5py", "pillow")
# In this order; seconds that each may take at most in the short form.
PARTS = {
    "card": 60,
    "opening": 120,
    "parity": 150,
    "bits": 120,
    "extract": 150,
    "predict": 150,
    "together": 90,
    "kill": 120,
    "memory": 100,
    "rates": 200,
    "device": 120,
}
SHORT_SECONDS = 480.0


def run_part(part: str, limit: float, folder: Path) -> dict:
    """Results of one part, or `failed` and why."""
    result = folder / f"{part}.json"
    command = [sys.executable, __file__, *sys.argv[1:], "--part", part, "--folder", str(folder)]
    print(f"== {part} (at most {limit:.0f} s)", flush=True)
    started = time.perf_counter()
    process = subprocess.Popen(command, start_new_session=True)
    try:
        code = process.wait(limit)
        failed = "" if code == 0 else f"its process ended with exit code {code}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        failed = f"it took longer than {limit:.0f} s"
    seconds = time.perf_counter() - started
    found = json.loads(result.read_text()) if result.exists() else {}
    if failed:
        found["failed"] = found.get("failed", failed)
        print(f"FAILED: {part}: {found['failed']}")
    print(f"-- {part}: {seconds:.0f} s\n", flush=True)
    return found | {"seconds": seconds}


def run_parts(arguments, folder: Path) -> dict:
    """All parts, as long as there is time."""
    ends = time.perf_counter() + (SHORT_SECONDS if arguments.short else 24 * 3600)
    results = {}
    for part in arguments.parts:
        left = ends - time.perf_counter() - 2
        limit = min(PARTS[part], left) if arguments.short else left
        if limit < 10:
            results[part] = {"failed": "no time was left"}
            print(f"FAILED: {part}: no time was left", flush=True)
            continue
        results[part] = run_part(part, limit, folder)
        write_results(arguments.json, arguments.machine, results)
    return results


def parse_arguments():
    parser = make_parser(__doc__)
    parser.add_argument("--engine", default="jax", choices=("jax", "tensorflow"))
    parser.add_argument("--device", default="gpu")
    parser.add_argument("--parts", nargs="*", default=list(PARTS), choices=list(PARTS))
    parser.add_argument("--reference", type=Path, help="what --write-reference wrote")
    parser.add_argument("--write-reference", type=Path, metavar="FILE", help="only this")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=NETWORKS)
    parser.add_argument("--image-size", type=int, default=224, help="of a reference to write")
    parser.add_argument("--images", type=int, default=16, help="in a reference to write")
    parser.add_argument(
        "--batch-size", type=int, default=128, help="of bits, extract, kill and device"
    )
    parser.add_argument("--batch-sizes", type=int, nargs="*", default=[256, 64, 1024, 32, 512, 128])
    parser.add_argument("--photos", type=int, default=16384)
    parser.add_argument("--predict", type=int, default=512, metavar="N", help="photos to predict")
    parser.add_argument("--extractions", type=int, default=2, help="that run at once")
    parser.add_argument("--decoders", type=int, nargs="*", default=[8, 16])
    parser.add_argument("--openings", type=int, default=4, help="networks that are opened at once")
    parser.add_argument("--part", choices=list(PARTS), help="only this, in this process")
    parser.add_argument("--folder", type=Path, help="for --part")
    arguments = parser.parse_args()
    if arguments.write_reference is None and arguments.reference is None:
        parser.error("--reference FILE is needed; --write-reference FILE makes it")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    if arguments.write_reference is not None:
        write_reference(arguments.write_reference, arguments.image_size, arguments.images)
        print(f"{arguments.write_reference.stat().st_size / 1e6:.2f} MB")
        return
    if arguments.part is not None:
        from benchmarks.gpu_parts.parts import measure_part

        sys.exit(measure_part(arguments.part, arguments))
    arguments.machine = describe_machine(PACKAGES)
    print_machine(arguments.machine)
    with tempfile.TemporaryDirectory(prefix="frostline-gpu-") as folder:
        results = run_parts(arguments, Path(folder))
    write_results(arguments.json, arguments.machine, results)
    failed = [part for part, found in results.items() if "failed" in found]
    print(f"Failed: {', '.join(failed) or 'nothing'}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
