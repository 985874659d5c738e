"""Peak memory and seconds of merging eight shards, as whole processes, by the number of their rows.

python benchmarks/merge_memory.py       # about 2 minutes; 3.4 GB of disk
"""

import sys
import tempfile
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

N_SHARDS = 8
ROWS_A_SHARD = (2_500, 5_000, 10_000, 20_000)
WRITE = """
import sys
from pathlib import Path
from benchmarks.scale import write_shards
write_shards(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
"""


def measure(folder: Path, n_rows: int) -> dict[str, float]:
    """Merges shards of so many rows in all."""
    run_process([sys.executable, "-c", WRITE, folder, n_rows, N_SHARDS])
    files = [folder / f"{number}.h5" for number in range(1, N_SHARDS + 1)]
    merged = folder / "merged.h5"
    command = [sys.executable, "cli.py", "features", *files, "--merge", "--output", merged]
    used = run_process(command)
    return {
        "rows": n_rows,
        "merged file, MB": round(merged.stat().st_size / 1e6),
        "peak memory, MB": round(used.peak_bytes / 1e6),
        "seconds": used.seconds,
        "processor seconds": used.cpu_seconds,
    }


def main() -> None:
    parser = make_parser(__doc__)
    arguments = parser.parse_args()
    machine = describe_machine(("h5py", "numpy"))
    print_machine(machine)
    rows = []
    for n_rows in ROWS_A_SHARD[: 2 if arguments.short else None]:
        with tempfile.TemporaryDirectory(prefix="frostline-merge-") as folder:
            rows.append(measure(Path(folder), N_SHARDS * n_rows))
    print_table(list(rows[0]), [row.values() for row in rows])
    write_results(arguments.json, machine, rows)


if __name__ == "__main__":
    main()
