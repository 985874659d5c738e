"""What suggested labels are worth: a head on images that `suggest` chose against random ones.

A feature file is divided at random, over and over, into a pool to label from and images that judge.
From the pool so many images are chosen as `suggest` chooses them, and as many at random; each is
given its true label, a logistic head is fitted on them (C = 0.01), and scored on the judges.

    python benchmarks/suggest.py flowers.h5            # about 3 minutes
    python benchmarks/suggest.py flowers.h5 --short    # 2 divisions
"""

import sys
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
from pipeline.features.choose_images import choose_typical
from pipeline.features.feature_file import FeatureFile
from pipeline.heads.fit import fit
from pipeline.images.splits import TRAIN

NUMBERS = (5, 10, 15, 20, 30, 40, 60, 90, 120)
JUDGES = 0.3
N_RANDOM = 5  # random choices of each size in each division, since one alone is much chance


def read(path: Path) -> tuple[str, np.ndarray, np.ndarray, list[str]]:
    """One image of each digest, those with a label."""
    with FeatureFile(path) as file:
        contents, features = file.contents, file.read_all()
    _, rows = np.unique(contents.images.digests, axis=0, return_index=True)
    rows = rows[contents.labels[rows] >= 0]
    return contents.data_name, features[rows], contents.labels[rows], contents.class_names


def score(features: np.ndarray, labels: np.ndarray, train: np.ndarray, judges: np.ndarray) -> float:
    """Accuracy on the judges; a class that nobody labelled is always missed."""
    present = np.unique(labels[train])
    if len(present) < 2:
        return float((labels[judges] == present[0]).mean())
    rows = np.concatenate([train, judges])
    split = np.repeat([TRAIN, -1], [len(train), len(judges)])
    known = np.searchsorted(present, labels[rows])
    known = np.where(split == TRAIN, known, -1)
    names = [str(label) for label in present]
    fitted = fit(features[rows], known, split=split, C=0.01, class_names=names)
    called = present[fitted.probabilities[len(train) :].argmax(axis=1)]
    return float((called == labels[judges]).mean())


def measure(features: np.ndarray, labels: np.ndarray, n_divisions: int) -> dict[str, np.ndarray]:
    """Accuracies (n_divisions, len(NUMBERS)) of each way to choose."""
    found: dict[str, list[list[float]]] = {"suggested": [], "random": []}
    for seed in range(n_divisions):
        random = np.random.default_rng(seed)
        order = random.permutation(len(labels))
        judges, pool = np.split(order, [round(JUDGES * len(labels))])
        nobody = np.zeros(len(pool), bool)
        by_way: dict[str, list[float]] = {"suggested": [], "random": []}
        for number in NUMBERS:
            chosen = pool[choose_typical(features[pool], number, nobody, seed=seed)]
            by_way["suggested"].append(score(features, labels, chosen, judges))
            draws = [random.permutation(pool)[:number] for _ in range(N_RANDOM)]
            by_way["random"].append(
                float(np.mean([score(features, labels, draw, judges) for draw in draws]))
            )
        for way, accuracies in by_way.items():
            found[way].append(accuracies)
    return {way: np.array(rows) for way, rows in found.items()}


def plot(path: Path, name: str, found: dict[str, np.ndarray]) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import FixedLocator, NullLocator, PercentFormatter

    from pipeline.runs.plots.figures import BLUE, GRID, ORANGE, write_figure

    figure = Figure(figsize=(7.2, 4.4))
    ax = figure.subplots()
    figure.subplots_adjust(left=0.12, right=0.95, top=0.86, bottom=0.14)
    for (way, accuracies), colour in zip(found.items(), (BLUE, ORANGE), strict=True):
        mean, spread = accuracies.mean(axis=0), accuracies.std(axis=0, ddof=1)
        ax.plot(NUMBERS, mean, "o-", color=colour, label=f"{way} images")
        ax.fill_between(NUMBERS, mean - spread, mean + spread, color=colour, alpha=0.15, lw=0)
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(NUMBERS))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([str(number) for number in NUMBERS])
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.set_xlabel("labelled images in all")
    ax.set_ylabel("accuracy on other images")
    ax.grid(axis="y", color=GRID)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    write_figure(figure, path, f"{name}: which images to label", 0.12)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("features", type=Path, help="a feature file with labels")
    parser.add_argument("--divisions", type=int, help="[default: 10; short: 2]")
    parser.add_argument("--plot", type=Path, metavar="STEM", help="draw STEM.png, .svg")
    arguments = parser.parse_args()
    n_divisions = arguments.divisions or (2 if arguments.short else 10)
    machine = describe_machine(("numpy", "scikit-learn"))
    print_machine(machine)
    name, features, labels, class_names = read(arguments.features)
    found = measure(features, labels, n_divisions)
    print(f"{name}: {len(labels):,} images, {len(class_names)} classes, {n_divisions} divisions")
    print_table(
        ["labels", "suggested", "random", "difference", "divisions where better"],
        [
            [
                number,
                *(float(found[way][:, place].mean()) for way in ("suggested", "random")),
                float((found["suggested"] - found["random"])[:, place].mean()),
                int((found["suggested"] > found["random"])[:, place].sum()),
            ]
            for place, number in enumerate(NUMBERS)
        ],
    )
    few, many = NUMBERS.index(30), NUMBERS.index(60)
    print(
        f"30 suggested: {found['suggested'][:, few].mean():.4f}, 60 random: "
        f"{found['random'][:, many].mean():.4f}"
    )
    if arguments.plot:
        plot(arguments.plot, name, found)
    results = {way: rows.tolist() for way, rows in found.items()}
    write_results(arguments.json, machine, {"numbers": NUMBERS, **results})


if __name__ == "__main__":
    main()
