"""Contents of reports and audits, generated: what pages are drawn of when no run is asked."""

import base64
import io
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from pipeline.report.contents import (
    AuditContents,
    AuditGroup,
    AuditItem,
    CalibrationBin,
    ClassScores,
    Comparison,
    Curve,
    Fact,
    FeatureMap,
    Finding,
    Mistake,
    Plot,
    ReportContents,
    ReportImage,
    ReportRun,
    Score,
    Section,
    Sheet,
)

TILE, COLUMNS = 32, 10
FLOWERS = ("daisy", "dandelion", "roses", "sunflowers", "tulips")


def draw_tile(label: int, number: int) -> Image.Image:
    """A square whose colour is its class's, with a bar that tells the images of a class apart."""
    colour = (40 * label % 256, 255 - 25 * label % 256, (90 + 70 * label) % 256)
    tile = Image.new("RGB", (TILE, TILE), colour)
    tile.paste((255, 255, 255), (0, 0, 2 + number % 28, 6))
    return tile


def make_sheet(tiles: Sequence[Image.Image]) -> Sheet:
    side = tiles[0].width
    rows = -(-len(tiles) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * side, rows * side))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % COLUMNS * side, number // COLUMNS * side))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=80)
    url = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Sheet(url, side, COLUMNS)


def make_report(
    class_names: Sequence[str] = FLOWERS,
    n_per_class: int = 24,
    n_runs: int = 1,
    wrong: float = 0.15,
    path_of: Callable[[str, int], str] = lambda name, i: f"test/{name}/{i:04d}.jpg",
    tile_of: Callable[[int, int], Image.Image] = draw_tile,
    title: str = "flowers, EfficientNet-Lite0",
) -> ReportContents:
    """A report of runs that have a share of the images wrong, by chance; half are scored."""
    random = np.random.default_rng(0)
    n_classes = len(class_names)
    labels = np.repeat(np.arange(n_classes), n_per_class)
    is_scored = np.arange(len(labels)) % 2 == 0
    called = np.repeat(labels[:, None], n_runs, 1)
    is_wrong = (random.random(called.shape) < wrong) & is_scored[:, None]
    called[is_wrong] = (called + random.integers(1, n_classes, called.shape))[is_wrong] % n_classes
    probability = random.uniform(max(0.3, 1 / n_classes), 1, called.shape)
    images = [
        ReportImage(
            path_of(class_names[label], i),
            int(label),
            "test" if is_scored[i] else "train",
            called[i].tolist(),
            probability[i].tolist(),
            (0, i),
        )
        for i, label in enumerate(labels)
    ]
    tiles = [tile_of(int(label), i) for i, label in enumerate(labels)]
    centres = random.uniform(0.12, 0.88, (n_classes, 2))
    x, y = np.clip(centres[labels] + random.normal(0, 0.05, (len(labels), 2)), 0, 1).T
    scored = np.flatnonzero(is_scored)
    runs = [
        _make_run(
            f"flowers-efficientnet-lite0-logreg-finetuned-{number + 1}",
            *(labels[scored], called[scored, number], probability[scored, number], scored),
            *(np.flatnonzero(~is_scored), class_names),
        )
        for number in range(n_runs)
    ]
    return ReportContents(
        title,
        "Made on 27 November 2026 by Frostline 0.2.",
        class_names,
        images,
        [make_sheet(tiles)],
        runs,
        FeatureMap(range(len(images)), x.tolist(), y.tolist(), "t-SNE: near is alike."),
        [
            Finding("Likely wrong labels", "Their neighbours are of another class.",
                    scored[:5].tolist(), 12),
            Finding("Image sizes differ between classes", "The size alone tells 41% of them."),
        ],
        [_compare(one, other, called, labels) for one in range(n_runs) for other in range(one)],
        ["3 images are gone since: they are listed without a picture."],
    )  # fmt: skip


def _compare(one, other, called, labels) -> Comparison:
    first, second = called[:, other] == labels, called[:, one] == labels
    return Comparison(
        other,
        one,
        ["The difference may be chance: p = 0.34 (McNemar's exact test on 60 common images)."],
        np.flatnonzero(first & ~second).tolist(),
        np.flatnonzero(second & ~first).tolist(),
    )


def _make_run(name, labels, called, probability, images, training, class_names) -> ReportRun:
    n_classes = len(class_names)
    matrix = np.zeros((n_classes, n_classes), int)
    np.add.at(matrix, (labels, called), 1)
    order = np.argsort(-probability, kind="stable")
    wrong = [i for i in order if labels[i] != called[i]]
    accuracy = 1 - len(wrong) / len(labels)
    edges, beside = np.linspace(0, 1, 11), np.arange(4)
    return ReportRun(
        name,
        "logistic regression",
        "test",
        [
            f"{100 * accuracy:.1f}% of {len(labels)} test images are right.",
            "A logistic regression on features of EfficientNet-Lite0, on a CPU in 2.8 s.",
        ],
        [
            Score("this head", accuracy, max(0, accuracy - 0.06), min(1, accuracy + 0.05), True),
            Score("the majority class", 1 / n_classes, 0.9 / n_classes, 1.1 / n_classes),
            Score("the head before training", 0.8 / n_classes),
        ],
        matrix.tolist(),
        [_score_class(matrix, number) for number in range(n_classes)],
        [
            Mistake(int(images[i]), training[(7 * i + beside) % len(training)].tolist(),
                    bool(i % 3 == 0))
            for i in wrong
        ],
        len(wrong),
        images[order[::-1][:20]].tolist(),
        [_calibrate(*edge, labels, called, probability) for edge in itertools.pairwise(edges)],
        _make_plots(accuracy),
        [
            Section("Recipe", [Fact("backbone", "efficientnet-lite0"), Fact("size", "224 pixels")]),
            Section(
                "Search",
                [Fact("came first", "flip")],
                [("training", "setting", "accuracy"), ("1", "1: as it is", "0.9000")],
            ),
            Section("Versions", [Fact("Frostline", "0.2"), Fact("TensorFlow", "2.21.0")]),
        ],
        [
            "python cli.py extract photos --backbone efficientnet-lite0",
            f"python cli.py fit-head cache/photos.h5 --output runs/{name}",
        ],
    )  # fmt: skip


def _score_class(matrix, number) -> ClassScores:
    right, n_images, n_called = (
        matrix[number, number],
        matrix[number].sum(),
        matrix[:, number].sum(),
    )
    recall = right / n_images
    return ClassScores(
        int(n_images),
        float(right / n_called) if n_called else None,
        float(recall),
        float(2 * right / (n_images + n_called)),
        max(0.0, float(recall) - 0.15),
        min(1.0, float(recall) + 0.1),
    )


def _calibrate(low, high, labels, called, probability) -> CalibrationBin:
    own = (probability > low) & (probability <= high)
    n_images = int(own.sum())
    return CalibrationBin(
        float(low),
        float(high),
        n_images,
        float(probability[own].mean()) if n_images else None,
        float((labels == called)[own].mean()) if n_images else None,
    )


def _band(values: list[float]) -> tuple[list[float], list[float]]:
    return [value - 0.03 for value in values], [value + 0.03 for value in values]


def _make_plots(accuracy: float) -> list[Plot]:
    strengths = [0.001, 0.01, 0.1, 1.0, 10.0]
    sizes = [5, 10, 20, 40, 80]
    grown = [accuracy - 0.5 * size**-0.6 for size in sizes]
    more = [80, 160, 320]
    guess = [accuracy - 0.5 * size**-0.6 for size in more]
    return [
        Plot(
            "Accuracy over regularisation",
            "C",
            "accuracy",
            [
                Curve("training", strengths, [0.7, 0.85, 0.95, 1.0, 1.0]),
                Curve("validation", strengths, [0.66, 0.79, accuracy, 0.81, 0.78]),
            ],
            is_log=True,
            mark=(0.1, "chosen"),
        ),
        Plot(
            "What more images would bring",
            "images of each class",
            "accuracy",
            [
                Curve("measured", sizes, grown, *_band(grown)),
                Curve("forecast", more, guess, *_band(guess), is_dashed=True),
            ],
            is_log=True,
            note="Twice the images: +0.6 to +2.1 points.",
        ),
    ]  # fmt: skip


def make_audit(
    class_names: Sequence[str] = FLOWERS,
    n_per_class: int = 8,
    path_of: Callable[[str, int], str] = lambda name, i: f"{name}/{i:04d}.jpg",
    labels: Sequence[str] | None = None,
    paths: Sequence[str] | None = None,
    tile_of: Callable[[int, int], Image.Image] = draw_tile,
) -> AuditContents:
    """An audit that doubts each second image of a class, and would leave two out."""
    names = labels or class_names
    owners = [label for label in range(len(class_names)) for _ in range(n_per_class)]
    images = [
        ReportImage(path_of(class_names[label], i), label, "", (), (), (0, i))
        for i, label in enumerate(owners)
    ]
    doubted = range(0, len(images), 2)
    return AuditContents(
        "flowers",
        "Made on 27 November 2026 by Frostline 0.2.",
        [f"{len(doubted)} of {len(images)} labels are doubtful.", "2 images are there twice."],
        class_names,
        images,
        [make_sheet([tile_of(label, i) for i, label in enumerate(owners)])],
        [
            AuditGroup(
                "Likely wrong labels",
                "Their neighbours are of another class.",
                [
                    AuditItem(i, "0.93",
                              (owners[i] + 1) % len(class_names),
                              related=[(i + step) % len(images) for step in (1, 3, 5)])
                    for i in doubted
                ],
                len(doubted) + 3,
            ),
            AuditGroup("Equal images", "The same bytes, twice.", [
                AuditItem(0, "the same file as another", leave_out=True, related=[1]),
                AuditItem(2, "the same file as another", leave_out=True, related=[3]),
            ], 2),
            AuditGroup("Classes too small", "None has fewer than 8 images.", (), 0),
        ],
        [
            (paths[i] if paths else image.path, names[owners[i]])
            for i, image in enumerate(images)
        ],
        range(len(images)),
        names,
        ["Image files were not looked at: they are gone."],
    )  # fmt: skip
