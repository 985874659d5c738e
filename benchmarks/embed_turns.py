"""Embedding alone, Frostline and OpenVINO's own throughput mode in turns in one process: seconds of
the wall and of the processor.

`embed.py` gives each a process of its own and the machine to itself. Where others use the cores,
seconds of the wall say more of them than of what is compared; a processor's seconds an image say
what each costs, though not whether a core waits meanwhile.

    python benchmarks/embed_turns.py --networks xception mobilenetv2
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.common import (  # noqa: E402
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)
from benchmarks.embed import (  # noqa: E402
    OPENVINO_BATCHES,
    build_model,
    compile_openvino,
    open_frostline,
    save_weights,
)
from pipeline.system.parallel import count_cores  # noqa: E402

PRECISIONS = {"float32": "f32", "mixed_bfloat16": "bf16"}
OURS = "frostline"
TASK = 8  # images that Frostline and OpenVINO's largest batch take at once
FEWEST = 48  # images of a turn
WARM_UP = 96  # images, after which Frostline has chosen between batches and single images
PACKAGES = ("openvino", "tensorflow", "numpy")

Run = Callable[[np.ndarray], np.ndarray]


def open_all(backbone: str, folder: Path) -> dict[str, dict[str, Run]]:
    """For each precision what takes turns; the network is converted once, and its model is gone."""
    from pipeline.backbones.engines.engine import Network
    from pipeline.backbones.engines.network_store import NetworkStore
    from pipeline.backbones.engines.openvino_cpu import convert_to_openvino

    store = NetworkStore(folder / "networks", folder / "secret")
    model = build_model(backbone, save_weights(backbone, "order-one", folder))
    converted = convert_to_openvino(Network(lambda: model))
    opened = {}
    for precision, hint in PRECISIONS.items():
        network = Network(lambda: model, precision, identity=backbone, store=store)
        opened[precision] = {OURS: open_frostline(network)}
        for size in OPENVINO_BATCHES:
            opened[precision][f"openvino, {size}"] = compile_openvino(converted, hint, size)
    return opened


def measure(backbone: str, arguments) -> list[dict]:
    """Two rows of the table."""
    from pipeline.backbones.registry import get_backbone

    size = get_backbone(backbone).image_size
    noise = np.random.default_rng(0).integers(0, 256, (WARM_UP, size, size, 3), np.uint8)
    with tempfile.TemporaryDirectory(prefix="frostline-turns-") as name:
        opened = open_all(backbone, Path(name))
        return [
            {"network": backbone, "precision": precision, **race(runs, noise, arguments)}
            for precision, runs in opened.items()
        ]


def race(runs: dict[str, Run], noise: np.ndarray, arguments) -> dict:
    """Medians; a turn has as many images as OpenVINO takes in the seconds asked for, and so many
    that all streams end with a whole task: of thousands of images the last ones do not count.
    """
    runs[OURS](noise)
    few = noise[:16]
    for run in runs.values():
        run(few)
    started = time.perf_counter()
    runs["openvino, 4"](few)
    rate = len(few) / (time.perf_counter() - started)
    step = TASK * count_cores()
    n_images = max(FEWEST, round(rate * arguments.seconds / step) * step)
    pixels = np.resize(noise, (n_images, *noise.shape[1:]))
    wall: dict[str, list[float]] = {name: [] for name in runs}
    cpu: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(arguments.rounds):
        for name, run in runs.items():
            before = time.perf_counter(), time.process_time()
            run(pixels)
            wall[name].append(time.perf_counter() - before[0])
            cpu[name].append(time.process_time() - before[1])
    cost = {name: 1000 * statistics.median(taken) / n_images for name, taken in cpu.items()}
    best = min(list(runs)[1:], key=cost.__getitem__)
    return {
        "images": n_images,
        "images/s": n_images / statistics.median(wall[OURS]),
        f"{OURS}, CPU ms an image": cost[OURS],
        "OpenVINO's best": cost[best],
        "which": best,
        "ratio, CPU": cost[best] / cost[OURS],
        "ratio, wall": min(statistics.median(wall[name]) for name in list(runs)[1:])
        / statistics.median(wall[OURS]),
    }


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--networks", nargs="+", default=["efficientnetb0"])
    parser.add_argument("--seconds", type=float, default=1.5, help="of each turn, about")
    parser.add_argument("--rounds", type=int, help="[default: 7; short: 3]")
    arguments = parser.parse_args()
    arguments.rounds = arguments.rounds or (3 if arguments.short else 7)
    machine = describe_machine(PACKAGES)
    print_machine(machine)
    rows: list[dict] = []
    for network in arguments.networks:
        rows += measure(network, arguments)
        print_table(list(rows[-1]), [row.values() for row in rows[-2:]])
    if len(rows) > 2:
        print_table(list(rows[0]), [row.values() for row in rows])
    write_results(arguments.json, machine, rows)


if __name__ == "__main__":
    main()
