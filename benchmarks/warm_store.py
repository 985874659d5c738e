"""Whole processes whose converted network is in the store: seconds and peak memory, medians.

One photo and a hundred predicted, one photo added to a large feature file, a data set evaluated
whose rows are cached; the default backbone at 224 pixels with random weights. The store is filled
by the `extract` that makes the file, which is timed, too.

    python benchmarks/warm_store.py
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.common import (  # noqa: E402
    Usage,
    alternate,
    describe_machine,
    make_parser,
    median_usage,
    print_machine,
    print_table,
    run_process,
    write_results,
)
from benchmarks.extract import make_photos  # noqa: E402

SIZE = (500, 375)
CLI = [sys.executable, ROOT / "cli.py"]
PACKAGES = ("openvino", "tensorflow", "numpy", "h5py", "scikit-learn")


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--backbone", default="efficientnetb0")
    parser.add_argument("--weights", default="random")
    parser.add_argument("--images", type=int, help="[default: 14000; short: 400]")
    parser.add_argument("--rounds", type=int, help="[default: 5; short: 2]")
    arguments = parser.parse_args()
    n_images = arguments.images or (400 if arguments.short else 14_000)
    n_rounds = arguments.rounds or (2 if arguments.short else 5)
    machine = describe_machine(PACKAGES)
    print_machine(machine)
    with tempfile.TemporaryDirectory(prefix="frostline-warm-") as name:
        folder = Path(name)
        os.environ["FROSTLINE_NETWORKS"] = str(folder / "networks")
        first = prepare(folder, n_images, arguments)
        usages = alternate(list_tasks(folder, n_images, arguments), n_rounds)
    rows = [{"command": f"extract of {n_images:,} (fills the store)", **median_usage([first])}]
    rows += [{"command": command, **median_usage(taken)} for command, taken in usages.items()]
    print_table(
        ["command", "seconds", "cpu seconds", "peak memory (MB)"],
        [[r["command"], r["seconds"], r["cpu_seconds"], r["peak_bytes"] / 1e6] for r in rows],
    )
    write_results(arguments.json, machine, rows)


def prepare(folder: Path, n_images: int, arguments) -> Usage:
    """Makes photos, their features and a run."""
    make_photos(folder / "photos", SIZE, n_images)
    make_photos(folder / "hundred", SIZE, 100)
    usage = run_process(extract_command(folder, arguments))
    run_process([*CLI, "fit-head", folder / "f.h5", "--output", folder / "run", "--quiet"])
    return usage


def extract_command(folder: Path, arguments) -> list:
    network = ["--backbone", arguments.backbone, "--weights", arguments.weights]
    return [*CLI, "extract", folder / "photos", *network, "--output", folder / "f.h5", "--quiet"]


def list_tasks(folder: Path, n_images: int, arguments) -> dict[str, Callable[[], Usage]]:
    """What is timed."""
    one = folder / "hundred" / "class0" / "000000.jpg"
    added = iter(range(n_images, n_images + 1_000))

    def add_one() -> Usage:
        """A photo that no file has yet."""
        number = next(added)
        spare = folder / "spare"
        make_photos(spare, SIZE, number % 16 + 1)
        newest = max(spare.rglob("*.jpg"))
        data = newest.read_bytes() + f"{number}".encode()
        (folder / "photos" / "class0" / f"{number:06d}.jpg").write_bytes(data)
        shutil.rmtree(spare)
        return run_process(extract_command(folder, arguments))

    run = folder / "run"
    return {
        "predict, one photo": lambda: run_process([*CLI, "predict", run, one]),
        "predict, 100 photos": lambda: run_process([*CLI, "predict", run, folder / "hundred"]),
        f"extract, one photo added to {n_images:,}": add_one,
        f"evaluate, {n_images:,} cached": lambda: run_process(
            [*CLI, "evaluate", run, folder / "photos"]
        ),
    }


if __name__ == "__main__":
    main()
