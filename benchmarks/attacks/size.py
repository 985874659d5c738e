"""Many images, classes and runs: seconds and memory, and what grows.

Right: ten times as many take no more than ten times as long (ten times the classes, of ten times
the images, a hundred times), and memory stays bounded.
"""

import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.attacks.workplace import LITE0, End, Tally, Workplace, judge

SECONDS = 3600.0
MOST_MB = 1500
_SLACK = 5.0  # seconds that do not grow
Do = Callable[[Workplace, Path, int], list[End]]


def make_many_images(root: Path, n_images: int, n_classes: int) -> None:
    """Different PNGs of 16 x 16 pixels, each of one colour but for its corner."""
    for label in range(n_classes):
        (root / f"class{label:05d}").mkdir(parents=True)
    for number in range(n_images):
        label = number % n_classes
        colour = (label * 7_368_787 % 2**24).to_bytes(3, "big")  # another one for each class
        corner = number.to_bytes(3, "big")
        rows = b"\0" + corner + colour * 15 + (b"\0" + colour * 16) * 15
        (root / f"class{label:05d}" / f"{number:06d}.png").write_bytes(_png(rows))


def _png(rows: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        check = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + check

    header = (16).to_bytes(4, "big") * 2 + bytes((8, 2, 0, 0, 0))
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def extract_images(place: Workplace, folder: Path, n: int) -> list[End]:
    """`extract`, then again with nothing to do, then `features`."""
    make_many_images(folder / "many", n, 100)
    order = ("extract", "many", *LITE0, "--output", "many.h5")
    listing = ("features", "many.h5", "--json")
    return [place.run(what, folder, seconds=SECONDS) for what in (order, order, listing)]


def fit_classes(place: Workplace, folder: Path, n: int) -> list[End]:
    """`extract` of four images a class, `fit-head`, `runs`."""
    make_many_images(folder / "many", 4 * n, n)
    orders = (
        ("extract", "many", *LITE0, "--output", "many.h5"),
        ("fit-head", "many.h5", "--output", "r"),
        ("runs", "."),
    )
    return [place.run(what, folder, seconds=SECONDS) for what in orders]


def list_runs(place: Workplace, folder: Path, n: int) -> list[End]:
    """`runs`, also as JSON."""
    for number in range(n):
        shutil.copytree(folder / "run", folder / "runs" / f"r{number:05d}", copy_function=os.link)
    return [place.run(what, folder, seconds=SECONDS) for what in (("runs",), ("runs", "--json"))]


def predict_images(place: Workplace, folder: Path, n: int) -> list[End]:
    """`predict`, as a table and as CSV."""
    make_many_images(folder / "many", n, 10)
    orders = (("predict", "run", "many"), ("predict", "run", "many", "--format", "csv"))
    return [place.run(what, folder, seconds=SECONDS) for what in orders]


# What is done, its commands, how many at most, and by what seconds may grow for ten times as many.
SIZES: dict[str, tuple[Do, str, int, int]] = {
    "images": (extract_images, "extract, extract again, features", 100_000, 10),
    "classes, 4 images each": (fit_classes, "extract, fit-head, runs", 2_000, 100),
    "runs": (list_runs, "runs, runs --json", 2_000, 10),
    "images in one predict": (predict_images, "predict, predict --format csv", 20_000, 10),
}


def attack_by_size(place: Workplace, names: tuple[str, ...] = tuple(SIZES)) -> Iterator[Tally]:
    """A tenth, then all."""
    for name in names:
        do, commands, most, growth = SIZES[name]
        tally = Tally(f"{most:,} {name}", commands)
        before: list[End] = []
        for n in (most // 10, most):
            with place.copy("run") as folder:
                ends = do(place, folder, n)
            for position, end in enumerate(ends):
                wrong = judge(end, may=(0,), most_mb=MOST_MB)
                if before and end.seconds > growth * before[position].seconds + _SLACK:
                    wrong.append(f"{before[position].seconds:.1f} s, then {end.seconds:.1f} s")
                tally.add(
                    f"{n:,}: {end.seconds:.1f} s, {end.peak_mb:,.0f} MB",
                    [f"{n:,}, command {position + 1}: {one}" for one in wrong],
                )
            before = ends
        yield tally
