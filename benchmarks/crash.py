"""Kills extractions and looks at what the next run makes of it.

Each trial is a process that extracts with a cheap deterministic stand-in for the backbone and is
killed with SIGKILL, at a random moment or at a given write, fsync or rename. A second run resumes.
Its file must equal an uninterrupted run's bit for bit, and nothing else may be left behind.

    python benchmarks/crash.py --trials 3000
"""

import argparse
import json
import mmap
import os
import shutil
import signal
import statistics
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.stand_in import RECIPE, StandIn
from pipeline.errors import LockedError
from pipeline.features import finished_rows as rows
from pipeline.features.feature_file import FeatureFile
from pipeline.features.update import update_features
from pipeline.features.update_job import UpdateOptions
from pipeline.images.dataset import scan_dataset
from pipeline.system import disk
from pipeline.system.sealed_hdf5 import verify_seal

N_CLASSES = 4
N_PER_CLASS = 30
PART_ROWS = 8


@dataclass
class Tally:
    """What the trials showed."""

    trials: int = 0
    killed: int = 0
    inconsistencies: list[str] = field(default_factory=list)
    recomputed: list[int] = field(default_factory=list)

    def to_dict(self) -> dict:
        return {
            "trials": self.trials,
            "killed before the end": self.killed,
            "inconsistencies": len(self.inconsistencies),
            "rows recomputed per kill, median": statistics.median(self.recomputed or [0]),
            "rows recomputed per kill, most": max(self.recomputed or [0]),
        }


class Counter:
    """A number that a killed process leaves to its parent."""

    def __init__(self):
        self._memory = mmap.mmap(-1, 8)

    @property
    def value(self) -> int:
        return struct.unpack("q", self._memory[:8])[0]

    @value.setter
    def value(self, value: int) -> None:
        self._memory[:8] = struct.pack("q", value)


class CountingStandIn(StandIn):
    """Counts the images it embeds in a counter that outlives the process."""

    def __init__(self, batch_size: int | None, counter: Counter):
        super().__init__(batch_size)
        self._counter = counter

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        with self._lock:
            self._counter.value += len(pixels)
        return super().__call__(pixels)


def make_images(root: Path) -> None:
    """Small PNGs; in each class the last two are equal, and one file is none."""
    for label in range(N_CLASSES):
        folder = root / f"class{label}"
        folder.mkdir(parents=True)
        for number in range(N_PER_CLASS):
            seed = 1000 * label + min(number, N_PER_CLASS - 2)
            pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    (root / "class0" / "broken.png").write_bytes(b"\x89PNG broken")


def extract(root: Path, target: Path, counter: Counter) -> None:
    """One whole extraction in this process."""
    update_features(
        scan_dataset(root),
        RECIPE,
        target,
        lambda batch_size: CountingStandIn(batch_size, counter),
        UpdateOptions(reuse=False),
    )


def fork(work: Callable[[], None]) -> int:
    """Runs `work` in a child of this warm process; returns its process id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return child


def wait_for(child: int) -> int:
    """The child's exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def read_file(target: Path) -> dict[str, object]:
    """What must not depend on how often the extraction was killed."""
    verify_seal(target)
    with FeatureFile(target) as file:
        contents = file.contents
        return {
            "features": file.read_all().tobytes(),
            "digest": contents.images.digests.tobytes(),
            "path": contents.images.paths,
            "label": contents.labels.tobytes(),
            "skipped": (contents.skipped.paths, contents.reasons),
            "probes": contents.probe_pixels.tobytes(),
        }


def die_at(operation: int, *, torn: bool, counter: Counter) -> None:
    """Makes this process die at its Nth write, fsync or rename; a torn write does half of it."""

    def count(original: Callable, is_write: bool) -> Callable:
        def call(*arguments):
            counter.value += 1
            if counter.value == operation:
                if torn and is_write:
                    file, data = arguments
                    file.write(data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments)

        return call

    disk.write_some = count(disk.write_some, True)
    disk.fsync = count(disk.fsync, False)
    disk.rename = count(disk.rename, False)


class Trials:
    """Trials on one data set, compared with one uninterrupted run."""

    def __init__(self, folder: Path):
        self._root = folder / "images"
        self._folder = folder
        make_images(self._root)
        rows.PART_ROWS = PART_ROWS
        counter = Counter()
        started = time.perf_counter()
        extract(self._root, folder / "reference" / "features.h5", counter)
        self.seconds = time.perf_counter() - started
        self.n_unique = counter.value
        self._reference = read_file(folder / "reference" / "features.h5")

    def at_random_moments(self, n_trials: int, seed: int) -> Tally:
        """Kills after a random time, between once and three times before the last run."""
        random = np.random.default_rng(seed)
        tally = Tally()
        for number in range(n_trials):
            delays = random.uniform(0, 1.1 * self.seconds, size=random.integers(1, 4))

            def interrupt(target: Path, counter: Counter, delays=delays) -> int:
                n_killed = 0
                for delay in delays:
                    child = fork(lambda: extract(self._root, target, counter))
                    time.sleep(delay)
                    os.kill(child, signal.SIGKILL)
                    n_killed += wait_for(child) == -signal.SIGKILL
                return n_killed

            self._try(tally, f"random {number}", interrupt)
        return tally

    def at_every_operation(self, *, torn: bool, every: int = 1) -> Tally:
        """Kills at the 1st, 2nd, ... write, fsync or rename until a run gets through."""
        tally = Tally()
        operation = 1
        is_over = False
        while not is_over:

            def interrupt(target: Path, counter: Counter, operation=operation) -> int:
                operations = Counter()

                def work() -> None:
                    die_at(operation, torn=torn, counter=operations)
                    extract(self._root, target, counter)

                return wait_for(fork(work)) == -signal.SIGKILL

            killed = tally.killed
            self._try(tally, f"operation {operation}{', torn' * torn}", interrupt)
            is_over = tally.killed == killed
            operation += every
        return tally

    def _try(self, tally: Tally, name: str, interrupt: Callable[[Path, Counter], int]) -> None:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        target = folder / "features.h5"
        counter = Counter()
        n_killed = interrupt(target, counter)
        if target.exists() and read_file(target) != self._reference:
            tally.inconsistencies.append(f"{name}: the file after the kill")
        if wait_for(fork(lambda: extract(self._root, target, counter))) != 0:
            tally.inconsistencies.append(f"{name}: the resumed run failed")
        elif read_file(target) != self._reference:
            tally.inconsistencies.append(f"{name}: the file after resuming")
        left = {path.name for path in folder.iterdir()} - {"features.h5", ".features.h5.lock"}
        if left:
            tally.inconsistencies.append(f"{name}: left behind {sorted(left)}")
        tally.trials += 1
        tally.killed += bool(n_killed)
        if n_killed:
            tally.recomputed.append(round((counter.value - self.n_unique) / n_killed))
        shutil.rmtree(folder)


def race(folder: Path, n_processes: int, n_rounds: int) -> dict:
    """Many processes extract to one target at once; one at a time may write."""
    root, target = folder / "race" / "images", folder / "race" / "features.h5"
    make_images(root)
    done = refused = verified = 0
    for _ in range(n_rounds):
        target.unlink(missing_ok=True)
        start = time.time() + 0.3

        def work(start=start) -> None:
            time.sleep(max(0.0, start - time.time()))
            try:
                extract(root, target, Counter())
            except LockedError as error:
                os._exit(3 if "is being written by process" in str(error) else 4)

        codes = [wait_for(child) for child in [fork(work) for _ in range(n_processes)]]
        done += codes.count(0)
        refused += codes.count(3)
        verify_seal(target)
        verified += 1
    return {
        "rounds of 8 processes": n_rounds,
        "processes that wrote or found it up to date": done,
        "processes that were told who writes": refused,
        "processes that said something else": n_processes * n_rounds - done - refused,
        "files that verify": verified,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=3000, help="at random moments")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="frostline-crash-") as folder:
        trials = Trials(Path(folder))
        print(
            f"{trials.n_unique} different images, parts of {PART_ROWS} rows, "
            f"{trials.seconds:.2f} s uninterrupted"
        )
        tallies = {
            "random moments": trials.at_random_moments(arguments.trials, arguments.seed),
            "every write, fsync and rename": trials.at_every_operation(torn=False),
            "the same, writes torn": trials.at_every_operation(torn=True),
        }
        raced = race(Path(folder), 8, 25)
    figures = {f"killed at {name}": tally.to_dict() for name, tally in tallies.items()}
    figures["8 processes at once"] = raced
    for name, values in figures.items():
        print(f"\n{name}")
        for what, value in values.items():
            print(f"  {what:<46} {value:g}")
    for tally in tallies.values():
        for line in tally.inconsistencies:
            print(f"  INCONSISTENT {line}")
    print(f"\n{time.perf_counter() - started:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))
    sys.exit(any(tally.inconsistencies for tally in tallies.values()))


if __name__ == "__main__":
    main()
