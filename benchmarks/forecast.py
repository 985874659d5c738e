"""How often the forecast's band holds what twice the images bring, and how wide it is.

A feature file's training images are halved at random, again and again; the forecast from a half
is compared with what a head on all of them has on the same other images. Once with the division
into training and other images that `fit-head` makes, once divided anew each time, in the same
proportion: with the first the result that is to be met is one number, with the second thirty.

    python benchmarks/forecast.py flowers.h5 digits.h5          # a minute and more for each
    python benchmarks/forecast.py flowers.h5 --short            # 3 halves
    python benchmarks/forecast.py --synthetic 10000 --short     # how long one forecast takes
"""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.common import (
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    write_results,
)
from pipeline.features.feature_file import FeatureFile
from pipeline.features.options import SplitOptions
from pipeline.features.split_rows import divide_images
from pipeline.heads.few_images.shots import FEW_IMAGES_C
from pipeline.heads.fit import fit
from pipeline.heads.forecast.draws import order_images
from pipeline.heads.forecast.forecast import forecast_accuracy
from pipeline.images.splits import TRAIN, VAL
from pipeline.runs.scores import wilson_interval

N_FEATURES, N_CLASSES = 1280, 10  # of synthetic ones


@dataclass(frozen=True)
class Images:
    """Of a feature file: those with a label and a split, train or val."""

    name: str
    features: np.ndarray
    labels: np.ndarray
    is_train: np.ndarray
    units: np.ndarray

    def divide(self, seed: int | None) -> np.ndarray:
        """Which train: as the file says with None, else so many drawn at random."""
        if seed is None:
            return self.is_train
        order = order_images(self.labels, self.units, np.random.default_rng((seed, 1)))
        is_train = np.zeros(len(self.labels), bool)
        is_train[order[: int(self.is_train.sum())]] = True
        return is_train


def read(path: Path) -> Images:
    with FeatureFile(path) as file:
        contents, features = file.contents, file.read_all()
    division = divide_images(contents, SplitOptions())
    rows = np.flatnonzero(np.isin(division.splits, (TRAIN, VAL)))
    is_train = division.splits[rows] == TRAIN
    return Images(
        contents.data_name, features[rows], contents.labels[rows], is_train, division.units[rows]
    )


def measure(images: Images, is_train: np.ndarray, seed: int) -> dict[str, float]:
    """One half: its forecast, and the accuracy of a head on all training images."""
    train = np.flatnonzero(is_train)
    labels, units = images.labels[train], images.units[train]
    order = order_images(labels, units, np.random.default_rng((seed, 2)))
    is_half = np.zeros(len(is_train), bool)
    is_half[train[order[: len(train) // 2]]] = True
    started = time.perf_counter()
    found = forecast_accuracy(
        images.features,
        images.labels,
        is_half,
        ~is_train,
        units=images.units,
        times=[len(train) / int(is_half.sum())],
        seed=seed,
    )
    seconds = time.perf_counter() - started
    split = np.where(is_train, "train", "val")
    fitted = fit(images.features, images.labels, split=split, C=FEW_IMAGES_C)
    ahead = found.ahead[0]
    low, high = wilson_interval(found.now.mean * found.n_scored, found.n_scored)
    result = fitted.metrics["val"].accuracy
    return {
        "half": found.now.mean,
        "forecast": ahead.mean,
        "low": ahead.low,
        "high": ahead.high,
        "all": result,
        "is_held": float(ahead.low - 1e-9 <= result <= ahead.high + 1e-9),
        "binomial": high - low,
        "seconds": seconds,
    }


def summarise(name: str, way: str, halves: list[dict[str, float]]) -> list:
    def mean(key: str) -> float:
        return float(np.mean([half[key] for half in halves]))

    def root(key: str) -> float:
        return float(np.sqrt(np.mean([(half[key] - half["all"]) ** 2 for half in halves])))

    return [
        name,
        way,
        f"{mean('half'):.3f}",
        f"{mean('forecast'):.3f}",
        f"{mean('all'):.3f}",
        f"{int(sum(half['is_held'] for half in halves))} of {len(halves)}",
        f"{mean('high') - mean('low'):.3f}",
        f"{1 - mean('half'):.3f}",
        f"{mean('binomial'):.3f}",
        f"{root('forecast'):.3f}",
        f"{root('half'):.3f}",
        f"{mean('seconds'):.1f}",
    ]


COLUMNS = [
    *("data", "division", "half", "forecast", "all", "held"),
    *("band", "half to 1", "binomial", "error", "error of half", "seconds"),
]


def make_synthetic(n_images: int) -> Images:
    """Clusters that overlap; four in five images train."""
    random = np.random.default_rng(0)
    labels = np.arange(n_images) % N_CLASSES
    centres = random.normal(size=(N_CLASSES, N_FEATURES))
    noise = random.normal(size=(n_images, N_FEATURES), scale=8)
    features = (centres[labels] + noise).astype(np.float32)
    is_train = random.random(n_images) < 0.8
    return Images(f"synthetic {n_images:,}", features, labels, is_train, np.arange(n_images))


def take_time(images: Images) -> None:
    started = time.perf_counter()
    found = forecast_accuracy(images.features, images.labels, images.is_train, ~images.is_train)
    print(f"{images.name}: {time.perf_counter() - started:.1f} s, {found.n_draws} draws of")
    print([one.n_images for one in found.measured], *found.describe(), sep="\n", flush=True)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("features", type=Path, nargs="*", help="feature files with labels")
    parser.add_argument("--halves", type=int, help="[default: 30; short: 3]")
    parser.add_argument("--synthetic", type=int, metavar="N", help="time one of N images")
    arguments = parser.parse_args()
    n_halves = arguments.halves or (3 if arguments.short else 30)
    machine = describe_machine(("numpy", "scikit-learn"))
    print_machine(machine)
    if arguments.synthetic:
        take_time(make_synthetic(arguments.synthetic))
    results, table = {}, []
    for path in arguments.features:
        images = read(path)
        for way in ("fit-head's", "anew"):
            halves = [
                measure(images, images.divide(None if way == "fit-head's" else seed), seed)
                for seed in range(n_halves)
            ]
            results[f"{images.name}, {way}"] = halves
            table.append(summarise(images.name, way, halves))
    if table:
        print_table(COLUMNS, table)
    write_results(arguments.json, machine, results)


if __name__ == "__main__":
    main()
