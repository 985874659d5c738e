"""How fast images reach a device: a stand-in for one that takes a tenth of a millisecond an image.

It stands behind the `Engine` seam and computes nothing, so a machine without a GPU can tell what
one would wait for. Three tables: how busy the device is when decoding is free (pixels lie ready in
each decoder process), which is what this process costs; images/s of JPEG photos that are read,
hashed and decoded, in threads of this process and in 1, 2 and 4 processes; and the same for a real
network on this CPU. All take turns.

    python benchmarks/feed.py          # five minutes on 2 cores
"""

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.common import (
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)
from benchmarks.extract import SIZES, make_photos
from benchmarks.sleeping_device import (
    SECONDS_AN_IMAGE,
    SIDE,
    SleepingDevice,
    take_ready,
)
from benchmarks.stand_in import RECIPE
from pipeline.backbones.engines.embedder import Embedder
from pipeline.features.embed import MakeEmbedder, make_embedder
from pipeline.features.extract import make_recipe
from pipeline.features.open_embedding import Workers, open_embedding
from pipeline.images.decoding.isolated_worker import Read
from pipeline.images.decoding.read_batches import ReaderSettings
from pipeline.images.decoding.read_images import DEFAULT_LIMITS, read_image
from pipeline.recipe import Recipe
from pipeline.system.parallel import count_cores

NETWORK = "efficientnet-lite0"
SIDES_OF_NETWORK = (224, 64)


@dataclass(frozen=True)
class Case:
    """What is fed, by whom, and to what.

    Args:
        paths: of images.
        workers: who decodes.
        recipe: what pixels of them.
        make: the device, from a batch size.
        read: what gives an image's pixels.
    """

    paths: list[Path]
    workers: Workers
    recipe: Recipe
    make: MakeEmbedder
    read: Read = read_image


def feed(case: Case, folder: Path) -> dict:
    """Embeds all images, and says how fast, when the processes have started."""
    settings = ReaderSettings(case.recipe, DEFAULT_LIMITS, folder / "notes", read=case.read)
    notes: list[str] = []
    with open_embedding(case.make, [], settings, None, case.workers, notes.append) as embedding:
        size = embedding.images_per_task
        batches = [case.paths[start : start + size] for start in range(0, len(case.paths), size)]
        for _ in embedding.map(batches[:4]):
            continue
        SleepingDevice.busy_seconds = 0.0
        started, cpu = time.perf_counter(), time.process_time()
        n_images = sum(len(batch) for batch, _ in embedding.map(batches))
        seconds = time.perf_counter() - started
        used = time.process_time() - cpu
    for note in notes:
        if "lost" in note:
            print(note)
    return {
        "images/s": n_images / seconds,
        "device busy": SleepingDevice.busy_seconds / seconds or None,
        "parent us an image": 1e6 * used / n_images,
    }


def take_turns(cases: dict[str, Case], n_rounds: int, folder: Path) -> list[dict]:
    """The median of each figure of each case; all cases once in each round."""
    found: dict[str, list[dict]] = {name: [] for name in cases}
    for _ in range(n_rounds):
        for name, case in cases.items():
            found[name].append(feed(case, folder))
    return [{"case": name, **median_of_each(runs)} for name, runs in found.items()]


def median_of_each(runs: list[dict]) -> dict:
    """Of each figure that is there."""
    return {
        key: None if value is None else statistics.median(run[key] for run in runs)
        for key, value in runs[0].items()
    }


def make_sleeping(batch_size: int | None) -> Embedder:
    return Embedder(SleepingDevice())


def list_network_cases(photos: list[Path], n_cores: int) -> dict[str, Case]:
    """Threads and decoders for a real network on this machine's CPU."""
    cases = {}
    for side in SIDES_OF_NETWORK:
        recipe, weights = make_recipe(NETWORK, "imagenet", image_size=side)
        make = partial(make_embedder, recipe, weights, "cpu", None)
        for workers in (Workers("threads"), Workers("decoders", n_cores)):
            cases[f"{side} pixels, {n_cores} {workers.kind}"] = Case(photos, workers, recipe, make)
    return cases


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--photos", type=int, help="[default: 3,072; short: 1,024]")
    parser.add_argument("--rounds", type=int, help="[default: 3; short: 1]")
    arguments = parser.parse_args()
    n_rounds = arguments.rounds or (1 if arguments.short else 3)
    n_photos = arguments.photos or (1024 if arguments.short else 3072)
    machine = describe_machine(("numpy", "pillow"))
    print_machine(machine)
    with tempfile.TemporaryDirectory(prefix="frostline-feed-") as folder_name:
        folder = Path(folder_name)
        make_photos(folder / "photos", SIZES["500 x 375"], n_photos)
        photos = sorted((folder / "photos").rglob("*.jpg"))
        many = photos * -(-16 * 1024 // n_photos)
        n_threads, n_cores = SleepingDevice.n_streams, count_cores()
        recipe = replace(RECIPE, image_size=SIDE)
        decoders = {f"{n} processes": Workers("decoders", n) for n in arguments.processes}
        everyone = {f"{n_threads} threads": Workers("threads"), **decoders}
        device = f"a device of {1 / SECONDS_AN_IMAGE:,.0f} images/s, {n_cores} cores"
        tables = {
            f"Decoding is free: {device}": {
                name: Case(many, workers, recipe, make_sleeping, take_ready)
                for name, workers in decoders.items()
            },
            f"500 x 375 photos: {device}": {
                name: Case(photos, workers, recipe, make_sleeping)
                for name, workers in everyone.items()
            },
            f"500 x 375 photos: {NETWORK} on the CPU": list_network_cases(photos, n_cores),
        }
        results = {}
        for title, cases in tables.items():
            print(title)
            results[title] = take_turns(cases, n_rounds, folder)
            print_table(list(results[title][0]), [row.values() for row in results[title]])
    write_results(arguments.json, machine, results)


if __name__ == "__main__":
    main()
