"""Kills workers and drivers of a real extraction on a cluster; compares with one machine's file.

2,000 photos and EfficientNet-Lite0 on two workers of this machine: once undisturbed, once with a
worker killed three times in a row (SIGKILL), once with the command killed three times and started
again. Each file must equal, bit for bit, the one that is made without a cluster.

    python benchmarks/cluster.py            # about 5 minutes
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import frostline  # noqa: E402
from benchmarks.common import (  # noqa: E402
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)
from benchmarks.crash import read_file  # noqa: E402
from benchmarks.extract import make_photos  # noqa: E402
from benchmarks.local_cluster import LocalWorkers  # noqa: E402

OPTIONS = {"backbone": "efficientnet-lite0", "reuse": False}
N_KILLS = 3
N_PARTS = 20
DRIVER = f"""
import sys
import frostline
from pipeline.features import finished_rows
from pipeline.images.dataset import scan_dataset
from pathlib import Path
photos, target, scheduler = sys.argv[1:]
finished_rows.PART_ROWS = len(scan_dataset(Path(photos))) // {N_PARTS}
frostline.extract(photos, output=target, scheduler=scheduler, **{OPTIONS})
"""


def extract(photos: Path, target: Path, scheduler: str | None = None, kill=None) -> float:
    """Seconds of one extraction in this process.

    Args:
        kill: called with the share of the images that is done.
    """

    def watch(stage: str, done: int, total: int) -> None:
        if kill is not None and stage == "Embedding" and total:
            kill(done / total)

    started = time.perf_counter()
    frostline.extract(photos, output=target, scheduler=scheduler, on_progress=watch, **OPTIONS)
    return time.perf_counter() - started


def kill_workers(photos: Path, target: Path, workers: LocalWorkers) -> tuple[float, int]:
    """Kills a worker whenever another fifth is done; seconds, and how many were killed."""
    killed: list[int] = []

    def kill(share: float) -> None:
        if len(killed) < N_KILLS and share >= (len(killed) + 1) / 5:
            killed.append(workers.kill_a_worker())

    return extract(photos, target, workers.address, kill), len(set(killed))


def kill_drivers(photos: Path, target: Path, workers: LocalWorkers) -> tuple[float, int]:
    """Kills the driver whenever another fifth is in parts; seconds, and how many were killed."""
    command = [sys.executable, "-c", DRIVER, str(photos), str(target), workers.address]
    started, n_killed = time.perf_counter(), 0
    for kill in range(1, N_KILLS + 1):
        driver = subprocess.Popen(command, cwd=ROOT)
        while driver.poll() is None:
            if len(list(Path(f"{target}.parts").glob("part-*.h5"))) >= kill * N_PARTS / 5:
                driver.kill()
                n_killed += 1
                break
            time.sleep(0.01)
        driver.wait()
    subprocess.run(command, check=True, cwd=ROOT)
    return time.perf_counter() - started, n_killed


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--photos", type=Path, help="a folder of images, instead of drawn ones")
    arguments = parser.parse_args()
    machine = describe_machine(("distributed", "openvino", "h5py", "numpy"))
    print_machine(machine)
    with tempfile.TemporaryDirectory(prefix="frostline-cluster-") as name:
        folder = Path(name)
        photos = arguments.photos or folder / "photos"
        if arguments.photos is None:
            make_photos(photos, (500, 375), 200 if arguments.short else arguments.images)
        extract(photos, folder / "warm.h5")
        rows = [("one machine", extract(photos, folder / "one.h5"), 0, None)]
        expected = read_file(folder / "one.h5")
        with LocalWorkers(2, folder / "cluster") as workers:
            trials = {
                "two workers": lambda target: (extract(photos, target, workers.address), 0),
                "a worker killed": lambda target: kill_workers(photos, target, workers),
                "the command killed": lambda target: kill_drivers(photos, target, workers),
            }
            for number, (what, trial) in enumerate(trials.items()):
                target = folder / f"cluster-{number}.h5"
                seconds, n_killed = trial(target)
                rows.append((what, seconds, n_killed, str(read_file(target) == expected)))
    print_table(["2 cores", "seconds", "kills", "equal bit for bit"], rows)
    write_results(arguments.json, machine, rows)
    sys.exit(any(equal == "False" for *_, equal in rows))


if __name__ == "__main__":
    main()
