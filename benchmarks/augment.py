"""Augmentation of images of 224 pixels: images a second of one core's time, light and strong.

Each preset is measured in a process of its own, several times in turn. With `--against FOLDER`,
another checkout of Frostline takes turns with this one, and the ratio is that of the medians.

    git worktree add /tmp/before 0.1.0
    python benchmarks/augment.py --against /tmp/before
"""

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import (
    ROOT,
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)

PACKAGES = ("pillow", "numpy", "keras", "tensorflow")
PRESETS = ("light", "strong")
SIDE = 224
BATCH = 32
# An earlier version augments with TensorFlow, which takes this many threads for an operation.
ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    **dict.fromkeys(("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), "1"),
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def measure(preset: str, n_batches: int) -> dict[str, float]:
    """Images a second of processor time and of the clock, mixing included."""
    import numpy as np
    from PIL import Image

    try:
        from pipeline.images.augmentation.augment import Augmentation
    except ImportError:
        from pipeline.finetuning.augment import Augmentation  # as it was up to 0.1.0

    rng = np.random.default_rng(0)
    rough = rng.integers(0, 256, (BATCH, 28, 28, 3), dtype=np.uint8)
    images = np.stack([np.asarray(Image.fromarray(one).resize((SIDE, SIDE))) for one in rough])
    augment = Augmentation(preset, flip=True, seed=0)
    targets, ids = np.eye(BATCH, dtype=np.float32), np.arange(BATCH)

    def run(number: int) -> None:
        augment.mix(augment(images, ids, number), targets, number, 0)

    for number in range(4):  # TensorFlow traces its graphs, of both mixtures
        run(number)
    started, cpu_started = time.perf_counter(), time.process_time()
    for number in range(4, 4 + n_batches):
        run(number)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    n_images = n_batches * BATCH
    return {"of a core": n_images / cpu_seconds, "by the clock": n_images / seconds}


def measure_in_process(folder: Path, preset: str, n_batches: int) -> dict[str, float]:
    """`measure` with the Frostline that lies in a folder."""
    program = (
        "import json, runpy, sys; sys.path.insert(0, sys.argv[1])\n"
        "import pipeline\n"
        "measure = runpy.run_path(sys.argv[2])['measure']\n"
        "print(json.dumps(measure(sys.argv[3], int(sys.argv[4]))))"
    )
    arguments = [str(folder), str(ROOT / "benchmarks/augment.py"), preset, str(n_batches)]
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *arguments],
        env={**os.environ, **ONE_THREAD},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
        cwd=folder,
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--against", type=Path, metavar="FOLDER", help="another checkout")
    parser.add_argument("--rounds", type=int, help="[default: 5; short: 2]")
    arguments = parser.parse_args()
    n_rounds = arguments.rounds or (2 if arguments.short else 5)
    folders = {"here": ROOT}
    if arguments.against is not None:
        folders[arguments.against.name] = arguments.against.resolve()
    machine = describe_machine(PACKAGES)
    print_machine(machine)
    found: dict[str, dict[str, list[dict]]] = {
        preset: {name: [] for name in folders} for preset in PRESETS
    }
    for _ in range(n_rounds):
        for preset, of_folders in found.items():
            for name, folder in folders.items():
                n_batches = 8 if name == "here" else 2
                of_folders[name].append(measure_in_process(folder, preset, n_batches))
    rows = []
    for preset, of_folders in found.items():
        medians = {
            name: statistics.median(one["of a core"] for one in each)
            for name, each in of_folders.items()
        }
        clock = statistics.median(one["by the clock"] for one in of_folders["here"])
        others = [value for name, value in medians.items() if name != "here"]
        ratios = [medians["here"] / value for value in others]
        rows.append([preset, medians["here"], clock, *others, *ratios])
    columns = ["images/s", "of a core", "by the clock"]
    columns += [column for name in list(folders)[1:] for column in (name, "times faster")]
    print_table(columns, rows)
    write_results(arguments.json, machine, found)


if __name__ == "__main__":
    main()
