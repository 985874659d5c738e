"""What views are worth: heads fitted on augmented views against heads fitted on images alone.

A feature file with views is divided at random, over and over, into images that train, images that
choose (14%) and images that judge (30%); all of the training images train, or some of each class.
Each head is fitted on the images as they are, and on all of their views, and is asked about the
judges as they are, and as the mean over their views.

    python cli.py extract flowers --backbone efficientnet-lite0 --views 4
    python benchmarks/views.py cache/flowers-*-views.h5            # about 5 minutes
    python benchmarks/views.py cache/flowers-*-views.h5 --short    # 2 divisions
"""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

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
from pipeline.heads.fit import fit
from pipeline.images.augmentation.views import Views
from pipeline.images.splits import NO_SPLIT, TEST, TRAIN, VAL
from pipeline.runs.scores import Metrics

JUDGES, CHOOSERS = 0.3, 0.14
NUMBERS = (4, 16, None)  # training images of each class, None = all
# Few images choose nothing: `fit-head --shots` has this C, too.
HEADS: dict[str, dict[str, Any]] = {"logreg": {}, "ridge": {}, "neighbours": {}}
FEW: dict[str, dict[str, Any]] = {"logreg": {"C": 0.01}, "ridge": {}, "neighbours": {}}
WAYS: dict[str, dict[str, bool]] = {
    "alone": {"views": False, "tta": False},
    "views": {"views": True, "tta": False},
    "averaged": {"views": True, "tta": True},
}


@dataclass(frozen=True)
class Rows:
    """Images with labels, one of each digest, and their augmented views."""

    name: str
    features: np.ndarray
    views: np.ndarray
    labels: np.ndarray
    class_names: list[str]


def read(path: Path) -> tuple[Rows, Views]:
    """The rows of a file, and how their views were made."""
    with FeatureFile(path) as file:
        contents, features = file.contents, file.read_all()
        if file.views is None or contents.views is None:
            raise SystemExit(f"{path} has no views: extract with --views 4")
        views = file.views.read_all()
    _, rows = np.unique(contents.images.digests, axis=0, return_index=True)
    rows = rows[contents.labels[rows] >= 0]
    labels = contents.labels[rows]
    found = Rows(contents.data_name, features[rows], views[rows], labels, contents.class_names)
    return found, contents.views


def divide(labels: np.ndarray, seed: int) -> np.ndarray:
    """A split for each image, each class having its share of each."""
    random = np.random.default_rng(seed)
    splits = np.full(len(labels), TRAIN)
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        n_judges, n_choosers = round(JUDGES * len(rows)), round(CHOOSERS * len(rows))
        splits[rows[:n_judges]] = TEST
        splits[rows[n_judges : n_judges + n_choosers]] = VAL
    return splits


def keep_some(splits: np.ndarray, labels: np.ndarray, number: int | None, seed: int) -> np.ndarray:
    """So many training images of each class, drawn at random."""
    if number is None:
        return splits
    random = np.random.default_rng(seed)
    kept = np.where(splits == TRAIN, NO_SPLIT, splits)
    for label in np.unique(labels):
        rows = np.flatnonzero((splits == TRAIN) & (labels == label))
        kept[random.permutation(rows)[:number]] = TRAIN
    return kept


def score(rows: Rows, splits: np.ndarray, head: str, way: str, options: dict[str, Any]) -> Metrics:
    how = WAYS[way]
    fitted = fit(
        rows.features,
        rows.labels,
        split=splits,
        head=head,
        class_names=rows.class_names,
        views=rows.views if how["views"] else None,
        tta=how["tta"],
        **options,
    )
    return fitted.metrics["test"]


def measure(rows: Rows, n_divisions: int) -> list[dict[str, Any]]:
    """Accuracies and log-losses of each head, number of images and way, for each division."""
    found = []
    for number in NUMBERS:
        for head, options in (HEADS if number is None else FEW).items():
            scores: dict[str, list[Metrics]] = {way: [] for way in WAYS}
            for seed in range(n_divisions):
                splits = keep_some(divide(rows.labels, seed), rows.labels, number, seed)
                for way in WAYS:
                    scores[way].append(score(rows, splits, head, way, options))
            found.append(
                {
                    "head": head,
                    "number": number,
                    "accuracy": {way: [m.accuracy for m in some] for way, some in scores.items()},
                    "log_loss": {way: [m.log_loss for m in some] for way, some in scores.items()},
                }
            )
    return found


def describe_gain(values: dict[str, list[float]], way: str) -> str:
    """Mean difference from images alone, and its standard error over the divisions."""
    differences = np.subtract(values[way], values["alone"])
    error = differences.std(ddof=1) / np.sqrt(len(differences))
    return f"{differences.mean():+.4f} ± {error:.4f}"


def plot(path: Path, results: dict[str, dict[str, Any]]) -> None:
    """Accuracies against the images of a class: a row for each file, a column for each head."""
    from matplotlib.figure import Figure

    from pipeline.runs.plots.figures import (
        BLUE,
        INK,
        ORANGE,
        QUIET,
        show_percent,
        style_axes,
        write_figure,
    )

    figure = Figure(figsize=(2.6 * len(HEADS) + 0.6, 2.6 * len(results) + 0.5))
    axes = figure.subplots(len(results), len(HEADS), sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(left=0.1, right=0.98, top=0.86, bottom=0.09, hspace=0.3, wspace=0.08)
    styles = {"alone": (QUIET, "o"), "views": (BLUE, "s"), "averaged": (ORANGE, "^")}
    places = np.arange(len(NUMBERS))
    for row, found in zip(axes, results.values(), strict=True):
        for ax, head in zip(row, HEADS, strict=True):
            scores = {one["number"]: one["accuracy"] for one in found["scores"]
                      if one["head"] == head}  # fmt: skip
            for shift, (way, (colour, marker)) in zip(
                (-0.15, 0, 0.15), styles.items(), strict=True
            ):
                values = np.array([scores[number][way] for number in NUMBERS])
                error = values.std(axis=1, ddof=1) / np.sqrt(values.shape[1])
                ax.errorbar(places + shift, values.mean(axis=1), error, fmt=marker, color=colour,
                            ms=4, label=way)  # fmt: skip
            title = f"{head}, {found['views']['augment']} views"
            ax.set_title(title, fontsize=9.5, color=INK, loc="left")
            ax.set_xticks(places, [str(number or "all") for number in NUMBERS])
            style_axes(ax)
            show_percent(ax)
        row[0].set_ylabel("accuracy", fontsize=9, color=QUIET)
    axes[0, 0].legend(frameon=False, fontsize=8, loc="lower right")
    axes[-1, len(HEADS) // 2].set_xlabel("training images of each class", fontsize=9, color=QUIET)
    write_figure(
        figure, path, "Heads fitted on images alone, on views, and averaged over views", 0.1
    )


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("features", type=Path, nargs="+", help="feature files with views")
    parser.add_argument("--divisions", type=int, help="[default: 10; short: 2]")
    parser.add_argument("--plot", type=Path, metavar="STEM", help="draw STEM.png, .svg")
    arguments = parser.parse_args()
    n_divisions = arguments.divisions or (2 if arguments.short else 10)
    machine = describe_machine(("numpy", "scikit-learn"))
    print_machine(machine)
    results = {}
    for path in arguments.features:
        rows, made = read(path)
        found = measure(rows, n_divisions)
        print(f"\n{rows.name}: {len(rows.labels):,} images, {made}, {n_divisions} divisions")
        for what in ("accuracy", "log_loss"):
            print_table(
                ["head", "images a class", *WAYS, "views - alone", "averaged - alone"],
                [
                    [
                        one["head"],
                        one["number"] or "all",
                        *(f"{np.mean(one[what][way]):.4f}" for way in WAYS),
                        *(describe_gain(one[what], way) for way in ("views", "averaged")),
                    ]
                    for one in found
                ],
            )
        results[str(path)] = {"views": asdict(made), "scores": found}
    if arguments.plot:
        plot(arguments.plot, results)
    write_results(arguments.json, machine, results)


if __name__ == "__main__":
    main()
