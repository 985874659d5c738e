"""Where the one writer of a cluster ends: costs measured, then 10, 100, 1,000 workers simulated.

Measured on this machine, in processor time of this process: what a row costs the writer from the
moment when it has come (parts, and the one file made of them), what an image costs it before
(reading the file for its digest), what a task costs it and the scheduler (no-op workers that give
rows of 1,280 features), and what a row costs `merge`.

    python benchmarks/scale.py              # about 4 minutes
"""

import heapq
import os
import sys
import tempfile
import time
from collections import deque
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.common import (  # noqa: E402
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)
from benchmarks.extract import draw_photo  # noqa: E402
from benchmarks.local_cluster import LocalWorkers  # noqa: E402
from benchmarks.stand_in import RECIPE  # noqa: E402
from benchmarks.synthetic_features import write_synthetic_features  # noqa: E402
from pipeline.features.embed import embed_into_parts  # noqa: E402
from pipeline.features.feature_file import FeatureFile, write_features  # noqa: E402
from pipeline.features.finished_rows import FinishedRows, PartWriter  # noqa: E402
from pipeline.features.spread.cluster import IMAGES_PER_TASK  # noqa: E402
from pipeline.features.spread.merge import merge  # noqa: E402
from pipeline.features.spread.shard_number import Shard  # noqa: E402
from pipeline.features.spread.shards import (  # noqa: E402
    ComparedRows,
    ShardRecord,
    is_held,
)
from pipeline.images.decoding.read_images import hash_image_file  # noqa: E402
from pipeline.recipe import EngineRecord  # noqa: E402

N_FEATURES = 1280
N_WORKERS = (10, 100, 1_000)
RATES = {"a CPU core, 60 images/s": 60.0, "a GPU, 1,300 images/s": 1300.0}
LOOK_AHEAD = 4


class Ready:
    """Gives rows that were there before: what is measured is who takes them."""

    record = EngineRecord("ready", batch_size=1)
    notes: tuple[str, ...] = ()
    n_features, batch_size, images_per_task = N_FEATURES, 1, IMAGES_PER_TASK

    def __init__(self, digests: np.ndarray):
        self._digests = digests
        self._features = np.random.default_rng(0).random((IMAGES_PER_TASK, N_FEATURES), np.float32)

    def map(self, batches):
        start = 0
        for batch in batches:
            digests = self._digests[start : start + len(batch)]
            start += len(batch)
            yield batch, ([(digest, None) for digest in digests], self._features[: len(batch)])


def measure_writer(folder: Path, n_rows: int) -> dict[str, float]:
    """Processor seconds a row: into parts, and from the parts into the one file."""
    digests = np.random.default_rng(1).integers(0, 256, (n_rows, 32), np.uint8)
    writer = PartWriter(folder / "parts", RECIPE, Ready.record, 1)
    paths = (Path(f"{row}.jpg") for row in range(n_rows))
    started = time.process_time()
    embed_into_parts(paths, n_rows, Ready(digests), writer, lambda *_: None, lambda *_: None)
    parts = time.process_time() - started
    write_synthetic_features(folder / "tables.h5", n_rows, 4)
    with FeatureFile(folder / "tables.h5") as file:
        contents = file.contents
    started = time.process_time()
    finished = FinishedRows(writer.sources)
    write_features(folder / "one.h5", contents, finished.gather(digests), [], N_FEATURES)
    return {"into parts": parts / n_rows, "one file": (time.process_time() - started) / n_rows}


def measure_reading(folder: Path, n_images: int) -> float:
    """Processor seconds an image of 500 x 375 pixels whose file lies in memory."""
    paths = []
    for number in range(n_images):
        paths.append(folder / f"{number}.jpg")
        paths[-1].write_bytes(draw_photo((500, 375), number))
    started = time.process_time()
    for path in paths:
        hash_image_file(path)
    return (time.process_time() - started) / n_images


def give_rows(n_rows: int) -> np.ndarray:
    """What a worker that computes nothing gives."""
    return np.ones((n_rows, N_FEATURES), np.float32)


def measure_tasks(folder: Path, n_tasks: int) -> dict[str, float]:
    """Processor seconds a task takes from this process and from the scheduler's."""
    from distributed import Client

    with LocalWorkers(2, folder) as workers, Client(workers.address) as client:
        scheduler = psutil.Process(workers.scheduler_process_id)

        def spent() -> tuple[float, float]:
            times = scheduler.cpu_times()
            return time.process_time(), times.user + times.system

        client.submit(give_rows, 1).result()
        here, there = spent()
        pending: deque = deque()
        for number in range(n_tasks):
            pending.append(client.submit(give_rows, IMAGES_PER_TASK, key=f"task-{number}"))
            if len(pending) >= 2 * LOOK_AHEAD:
                pending.popleft().result()
        while pending:
            pending.popleft().result()
        here_after, there_after = spent()
    return {"driver": (here_after - here) / n_tasks, "scheduler": (there_after - there) / n_tasks}


def write_shards(folder: Path, n_rows: int, n_shards: int) -> list[Path]:
    """A feature file `whole.h5` of random rows, and its shards."""
    write_synthetic_features(folder / "whole.h5", n_rows, N_FEATURES)
    paths = []
    with FeatureFile(folder / "whole.h5") as file:
        whole = file.contents
        compared = ComparedRows(np.zeros((0, 32), np.uint8), np.zeros((0, N_FEATURES), np.float32))
        for number in range(1, n_shards + 1):
            shard = Shard(number, n_shards)
            rows = np.flatnonzero(is_held(shard, whole.images.digests))
            images = replace(
                whole.images,
                paths=[whole.images.paths[row] for row in rows],
                digests=whole.images.digests[rows],
                sizes=whole.images.sizes[rows],
                mtimes=whole.images.mtimes[rows],
                stamps=whole.images.stamps.at(rows),
            )
            contents = replace(
                whole,
                images=images,
                labels=whole.labels[rows],
                splits=whole.splits[rows],
                arrivals=whole.arrivals[rows],
                probe_rows=np.zeros(0, np.int64),
                probe_pixels=whole.probe_pixels[:0],
                shard=ShardRecord(shard, whole.images, whole.labels, whole.splits, compared),
            )
            paths.append(folder / f"{number}.h5")
            blocks = (file.read_rows(rows[at : at + 4096]) for at in range(0, len(rows), 4096))
            write_features(paths[-1], contents, blocks, [], N_FEATURES)
    return paths


def measure_merge(folder: Path, n_rows: int, n_shards: int) -> float:
    """Processor seconds a row of merging shards."""
    paths = write_shards(folder, n_rows, n_shards)
    started = time.process_time()
    merge(paths, output=folder / "merged.h5")
    seconds = time.process_time() - started
    with h5py.File(folder / "merged.h5") as ours, h5py.File(folder / "whole.h5") as theirs:
        if ours.attrs["features_sha256"] != theirs.attrs["features_sha256"]:
            raise RuntimeError("merged rows differ")
    return seconds / n_rows


def simulate(
    n_workers: int, rate: float, driver: float, scheduler: float, n_tasks: int
) -> tuple[float, float]:
    """Images/s of a cluster, and the share of their time that its workers compute.

    Tasks are handed out one after another by a scheduler that takes so long for each, run on the
    worker that is free first for a lognormal time, and taken in order by the one driver; no more
    than four for each worker are under way.

    Args:
        rate: images/s of a worker.
        driver, scheduler: seconds that each takes for a task.
    """
    random = np.random.default_rng(0)
    durations = IMAGES_PER_TASK / rate * random.lognormal(-0.02, 0.2, n_tasks)
    free = [0.0] * n_workers
    taken = np.zeros(n_tasks)
    scheduler_free = last = 0.0
    for task, duration in enumerate(durations):
        before = task - LOOK_AHEAD * n_workers
        submitted = taken[before] if before >= 0 else 0.0
        scheduler_free = max(scheduler_free, submitted) + scheduler
        finished = max(heapq.heappop(free), scheduler_free) + duration
        heapq.heappush(free, finished)
        last = max(last, finished) + driver
        taken[task] = last
    return n_tasks * IMAGES_PER_TASK / last, float(durations.sum()) / (n_workers * last)


def main() -> None:
    parser = make_parser(__doc__)
    arguments = parser.parse_args()
    machine = describe_machine(("distributed", "h5py", "numpy"))
    print_machine(machine)
    n_rows = 8_192 if arguments.short else 65_536
    with tempfile.TemporaryDirectory(prefix="frostline-scale-") as name:
        folder = Path(name)
        for place in ("writer", "photos", "merge"):
            (folder / place).mkdir()
        writer = measure_writer(folder / "writer", n_rows)
        reading = measure_reading(folder / "photos", 100 if arguments.short else 1_000)
        tasks = measure_tasks(folder / "cluster", 200 if arguments.short else 2_000)
        merging = measure_merge(folder / "merge", n_rows, 8)
    costs = {
        "reading an image for its digest": reading,
        "a row into parts": writer["into parts"],
        "a row from the parts into one file": writer["one file"],
        f"a task of {IMAGES_PER_TASK} images, the driver": tasks["driver"],
        f"a task of {IMAGES_PER_TASK} images, the scheduler": tasks["scheduler"],
        "a row of merging 8 shards": merging,
    }
    print_table(
        ["what costs the one writer", "microseconds"],
        [(what, 1e6 * seconds) for what, seconds in costs.items()],
    )
    driver = IMAGES_PER_TASK * writer["into parts"] + tasks["driver"]
    rows = []
    for what, rate in RATES.items():
        for n_workers in N_WORKERS:
            n_tasks = max(5_000, 40 * n_workers)
            found, busy = simulate(n_workers, rate, driver, tasks["scheduler"], n_tasks)
            rows.append((what, n_workers, n_workers * rate, found, 100 * busy))
    print_table(["a worker", "workers", "images/s of all", "simulated", "% computing"], rows)
    bound = IMAGES_PER_TASK / max(driver, tasks["scheduler"])
    print(f"The writer and its scheduler end at {bound:,.0f} images/s of {N_FEATURES} features.")
    write_results(arguments.json, machine, {"seconds": costs, "simulated": rows, "bound": bound})


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
