"""Kills decoder processes at random moments and looks at what becomes of the rows.

The same images are embedded again and again while a thread kills one decoder after the other with
SIGKILL. Every batch must come out as threads give it, and nothing may be left behind: no memory, no
open file, no process.

    python benchmarks/kill_decoders.py --kills 200      # two minutes
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.crash import make_images
from benchmarks.stand_in import RECIPE, StandIn
from pipeline.features.embed import Embedded
from pipeline.features.open_embedding import Workers, open_embedding
from pipeline.images.decoder_processes import feeder
from pipeline.images.decoding.read_batches import ReaderSettings
from pipeline.images.decoding.read_images import DEFAULT_LIMITS, Limits, read_image
from pipeline.recipe import Recipe
from pipeline.system.child_process import ChildProcess

BATCH_SIZE = 16
MOST_IMAGES_BETWEEN = 100  # two kills
ROUNDS = 4  # over the images, before the decoders end of themselves
MEMORY = "memfd:frostline"


def read_slowly(path: Path, recipe: Recipe, limits: Limits) -> tuple[np.ndarray, np.ndarray | str]:
    """`read_image` that takes as long as a photo does, so that kills meet it at work."""
    time.sleep(0.004)
    return read_image(path, recipe, limits)


class WatchedChild(ChildProcess):
    """A decoder process that can be found."""

    all: ClassVar[list["WatchedChild"]] = []

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        WatchedChild.all.append(self)


class Progress:
    """How many images were embedded, by which the killer paces itself: a start takes a while."""

    n_images = 0


class CountedStandIn(StandIn):
    """Says how far it is."""

    def __call__(self, pixels):
        Progress.n_images += len(pixels)
        return super().__call__(pixels)


class Killer(threading.Thread):
    """Kills so many decoders, one after the other, after so many images and some milliseconds."""

    def __init__(self, n_kills: int, seed: int):
        super().__init__(daemon=True)
        self.n_left = n_kills
        self._random = np.random.default_rng(seed)

    def run(self) -> None:
        while self.n_left:
            until = Progress.n_images + self._random.integers(1, MOST_IMAGES_BETWEEN)
            while Progress.n_images < until:
                time.sleep(0.001)
            time.sleep(self._random.uniform(0, 0.1))
            alive = [child for child in WatchedChild.all if child.is_alive()]
            if alive:
                with suppress(ProcessLookupError):
                    os.kill(self._random.choice([c.process_id for c in alive]), signal.SIGKILL)
                    self.n_left -= 1


@contextmanager
def watched_decoders() -> Iterator[None]:
    """Decoder processes that start meanwhile are among `WatchedChild.all`."""
    WatchedChild.all = []
    feeder.ChildProcess = WatchedChild
    try:
        yield
    finally:
        feeder.ChildProcess = ChildProcess


def kill_decoders(folder: Path, n_kills: int, seed: int) -> dict:
    """Kills so many decoders while images are embedded; what came out wrong and what was left."""
    make_images(folder / "images")
    paths = sorted((folder / "images").rglob("*.png"))
    batches = [paths[start : start + BATCH_SIZE] for start in range(0, len(paths), BATCH_SIZE)]
    expected = embed(folder, batches, Workers("threads"))
    before = look_for_leftovers()
    killer = Killer(n_kills, seed)
    n_images, wrong = 0, []
    with watched_decoders():
        killer.start()
        while killer.n_left:
            found = embed(folder, batches * ROUNDS, Workers("decoders", 2))
            for batch, *both in zip(batches * ROUNDS, expected * ROUNDS, found, strict=True):
                n_images += len(batch)
                wrong += compare(batch, *both)
    left = look_for_leftovers() - before
    alive = [child for child in WatchedChild.all if child.is_alive()]
    return {
        "decoders killed": n_kills - killer.n_left,
        "images meanwhile": n_images,
        "wrong rows": len(wrong),
        "pieces of memory left": len(left),
        "processes left": len(alive),
    }


def embed(folder: Path, batches: list[list[Path]], workers: Workers) -> list[Embedded]:
    """What becomes of each batch."""
    settings = ReaderSettings(RECIPE, DEFAULT_LIMITS, folder / "notes", read=read_slowly)
    with open_embedding(
        lambda batch_size: CountedStandIn(BATCH_SIZE),
        [],
        settings,
        None,
        workers,
        lambda note: None,
    ) as embedding:
        return [embedded for _, embedded in embedding.map(batches)]


def compare(paths: list[Path], good: Embedded, found: Embedded) -> list[Path]:
    """The images of which anything differs."""
    good_rows, found_rows = iter(good[1]), iter(found[1])
    wrong = []
    for path, (digest, reason), (found_digest, found_reason) in zip(
        paths, good[0], found[0], strict=True
    ):
        row = next(good_rows) if reason is None else None
        found_row = next(found_rows) if found_reason is None else None
        if (
            reason != found_reason
            or not np.array_equal(digest, found_digest)
            or not np.array_equal(row, found_row)
        ):
            wrong.append(path)
    return wrong


def look_for_leftovers() -> set[str]:
    """What is in /dev/shm, and this process's open or mapped memory without a name."""
    names = {str(path) for path in Path("/dev/shm").iterdir()}
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # that of this very listing
            target = str(descriptor.readlink())
            if MEMORY in target:
                names.add(f"{descriptor}: {target}")
    maps = Path("/proc/self/maps").read_text().splitlines()
    return names | {line for line in maps if MEMORY in line}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    started = time.perf_counter()
    with TemporaryDirectory(prefix="frostline-kill-") as folder:
        figures = kill_decoders(Path(folder), arguments.kills, arguments.seed)
    for what, value in figures.items():
        print(f"{what:<24} {value:>8,}")
    print(f"\n{time.perf_counter() - started:.0f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2))
    sys.exit(
        any(figures[what] for what in ("wrong rows", "pieces of memory left", "processes left"))
    )


if __name__ == "__main__":
    # Decoder processes import this module by its name, and find `read_slowly` there.
    from benchmarks.kill_decoders import main as run

    run()
