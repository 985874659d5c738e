"""Both heads on features that are larger than the memory they may take.

Writes a feature file of synthetic features (5 GB as it stands, in a temporary folder that is
removed again), then runs `cli.py fit-head --memory 2GB` with each head as a process of its own.

    python benchmarks/bigheads.py                    # 1,000,000 x 1,280: about 20 minutes
    python benchmarks/bigheads.py --rows 50000 --memory 100MB
    python benchmarks/bigheads.py --rows 4800 --classes 1200 --head logreg
"""

import json
import shutil
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import (
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    run_process,
    write_results,
)

HEADS = ("logreg", "dense")


def measure_head(folder: Path, head: str, memory: str) -> dict:
    """One whole `fit-head`; what it took and what came out."""
    run = folder / head
    command = [sys.executable, "cli.py", "fit-head", folder / "features.h5", "--head", head]
    usage = run_process([*command, "--memory", memory, "--output", run, "--quiet"])
    manifest = json.loads((run / "manifest.json").read_text())
    n_passes = len((run / "history.csv").read_text().splitlines()) - 1
    return {
        **asdict(usage),
        "val_accuracy": manifest["metrics"]["val"]["accuracy"],
        "val_log_loss": manifest["metrics"]["val"]["log_loss"],
        "chosen": manifest["chosen"],
        "points": n_passes,
        "stages": manifest["seconds"],
    }


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--rows", type=int, help="rows  [default: 1,000,000; short: 50,000]")
    parser.add_argument("--features", type=int, default=1280, help="columns  [default: 1280]")
    parser.add_argument("--classes", type=int, default=6, help="classes  [default: 6]")
    parser.add_argument("--memory", help="for fit-head  [default: 2GB; short: 100MB]")
    parser.add_argument("--head", choices=HEADS, action="append", help="only this one")
    arguments = parser.parse_args()
    n_rows = arguments.rows or (50_000 if arguments.short else 1_000_000)
    memory = arguments.memory or ("100MB" if arguments.short else "2GB")
    machine = describe_machine()
    print_machine(machine)

    with tempfile.TemporaryDirectory(prefix="frostline-bigheads-") as name:
        folder = Path(name)
        needed, free = n_rows * arguments.features * 4, shutil.disk_usage(folder).free
        if free < 1.2 * needed:
            sys.exit(
                f"{needed / 1e9:.1f} GB are needed in {folder.parent}, {free / 1e9:.1f} GB are "
                "free. Set TMPDIR to a larger disk, or give fewer --rows."
            )
        start = time.perf_counter()
        # In a process of its own: a child's peak memory is never below its parent's at its start.
        shape = (n_rows, arguments.features, arguments.classes)
        run_process([sys.executable, "-c", WRITE, folder / "features.h5", *shape])
        n_bytes = (folder / "features.h5").stat().st_size
        print(
            f"{n_rows:,} x {arguments.features:,} features, {n_bytes / 1e9:.2f} GB, written in "
            f"{time.perf_counter() - start:.0f} s; fit-head --memory {memory}\n",
            flush=True,
        )
        results = {head: measure_head(folder, head, memory) for head in arguments.head or HEADS}
    print_table(
        ["head", "seconds", "CPU seconds", "peak GB", "val accuracy", "val log-loss", "points"],
        [
            [
                head,
                result["seconds"],
                result["cpu_seconds"],
                result["peak_bytes"] / 1e9,
                result["val_accuracy"],
                result["val_log_loss"],
                result["points"],
            ]
            for head, result in results.items()
        ],
    )
    print("points: strengths C that were tried, or epochs and the state before the first.")
    settings = {
        "rows": n_rows,
        "features": arguments.features,
        "classes": arguments.classes,
        "memory": memory,
    }
    write_results(arguments.json, machine, {**settings, "file_bytes": n_bytes, "heads": results})


WRITE = """
import sys
from pathlib import Path
from benchmarks.synthetic_features import write_synthetic_features
path, n_rows, n_features, n_classes = sys.argv[1:]
write_synthetic_features(Path(path), int(n_rows), int(n_features), int(n_classes))
"""

if __name__ == "__main__":
    main()
