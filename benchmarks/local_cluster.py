"""A Dask scheduler and workers on this machine, each in a process of its own, to be killed at will.

python benchmarks/local_cluster.py 2      (prints the scheduler's address; ends with its input)
"""

import logging
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.stand_in import StandIn
from pipeline.images.decoding import read_images

ROOT = Path(__file__).resolve().parent.parent


class SlowStandIn(StandIn):
    """Takes 5 ms for an image, so that there is time to kill somebody."""

    def __call__(self, pixels):
        time.sleep(0.005 * len(pixels))
        return super().__call__(pixels)


class Upgraded(StandIn):
    """Of another version where its process runs in a folder that holds a file `upgraded`."""

    def __init__(self, batch_size: int | None = None):
        super().__init__(batch_size)
        if Path("upgraded").exists():
            self.record = replace(self.record, version="2")


class DyingOfWhite(StandIn):
    """A white image takes its process with it."""

    def __call__(self, pixels):
        if (pixels == 255).all(axis=(1, 2, 3)).any():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(pixels)


class CrashingDecoder(StandIn):
    """Where it is made, decoding a white image ends the process, as a fault in a decoder would."""

    def __init__(self, batch_size: int | None = None):
        super().__init__(batch_size)
        real = read_images.decode_image

        def crash(*arguments, **options):
            pixels = real(*arguments, **options)
            if (pixels == 255).all():
                os.kill(os.getpid(), signal.SIGKILL)
            return pixels

        read_images.decode_image = crash


class LocalWorkers:
    """A scheduler and its workers, which a nanny starts again when they die.

    Args:
        n_workers: with a thread each.
        folder: where they keep what they need, and where they run.

    Attributes:
        address: of the scheduler.
        folder: as above.
    """

    def __init__(self, n_workers: int, folder: Path):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(n_workers)],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self.address = self._process.stdout.readline().strip()

    def __enter__(self) -> "LocalWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill_all()

    @property
    def scheduler_process_id(self) -> int:
        return self._process.pid

    def list_workers(self) -> list[int]:
        """Process ids of the workers that live now."""
        found = []
        for child in psutil.Process(self._process.pid).children(recursive=True):
            try:
                if any("spawn_main" in word for word in child.cmdline()):
                    found.append(child.pid)
            except psutil.Error:  # it ended meanwhile
                continue
        return sorted(found)

    def kill_a_worker(self) -> int:
        """Kills the one that was started first, with SIGKILL; returns its process id."""
        victim = psutil.Process(self.list_workers()[0])
        victim.kill()
        victim.wait(20)
        return victim.pid

    def kill_all(self) -> None:
        """Kills scheduler and workers."""
        workers = self.list_workers()
        self._process.kill()
        self._process.wait()
        for worker in workers:
            try:
                os.kill(worker, signal.SIGKILL)
            except ProcessLookupError:
                continue


def main() -> None:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=int(sys.argv[1]),
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        local_directory=".",
        silence_logs=logging.CRITICAL,
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
