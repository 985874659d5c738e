"""What an audit finds, what mending brings, and how long it takes.

    python benchmarks/audit.py --labels flowers.h5     # 5% of training labels flipped, five seeds
    python benchmarks/audit.py --equal animals.h5      # sets of equal images
    python benchmarks/audit.py --images 10000          # time and peak memory of the whole process

`--labels` takes a feature file whose source gives a val split. Of its training labels 5% become
another class at random, and the training images alone are audited: no label of a val image has part
in anything. Told are, of the flipped ones, the share among the first tenth of the images, ordered
by how little their labels are to be trusted, and the share that the audit lists; and the accuracy
on the val images, whose labels are as they were, of heads that are trained on the true labels, the
flipped ones, and the flipped ones with what the audit suggests: the logistic head as it comes,
whose C is chosen by validation and makes much good, with a fixed C of 1, and 5 neighbours and one,
which makes nothing good.
`--images` makes features of 10 classes, and a small JPEG for each.
"""

import argparse
import io
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.common import (
    describe_machine,
    make_parser,
    print_machine,
    print_table,
    run_process,
    write_results,
)

FLIPPED = 0.05
FIRST = 0.10
HEADS = {
    "logreg": {},
    "C=1": {"C": 1.0},
    "5-nn": {"head": "neighbours", "neighbours": 5},
    "1-nn": {"head": "neighbours", "neighbours": 1},
}


def measure_labels(path: Path, n_seeds: int) -> dict:
    """Shares of flipped labels that are found, and accuracies, by seed."""
    from pipeline.features.feature_file import FeatureFile
    from pipeline.heads.audit.audit import divide_as_usual
    from pipeline.heads.audit.audited_rows import AuditedRows
    from pipeline.heads.audit.wrong_labels import find_wrong_labels, measure_trust
    from pipeline.heads.fit import fit
    from pipeline.images.splits import TRAIN

    with FeatureFile(path) as file:
        contents, features = file.contents, file.read_all()
    names = contents.class_names
    train = np.flatnonzero((contents.splits == TRAIN) & (contents.labels >= 0))

    def score(labels: np.ndarray) -> dict[str, float]:
        accuracies = {}
        for name, options in HEADS.items():
            fitted = fit(features, labels, split=contents.splits, class_names=names, **options)
            accuracies[name] = fitted.metrics["val"].accuracy
        return accuracies

    clean = score(contents.labels)
    results = []
    for seed in range(n_seeds):
        random = np.random.default_rng(seed)
        flipped = random.choice(train, round(FLIPPED * len(train)), replace=False)
        labels = contents.labels.copy()
        step = random.integers(1, len(names), len(flipped))
        labels[flipped] = (labels[flipped] + step) % len(names)
        seen = np.where(contents.splits == TRAIN, labels, -1).astype(np.int32)
        changed = replace(contents, labels=seen, entries=None)
        rows = AuditedRows(features, changed, *divide_as_usual(changed, None))
        issues, _ = find_wrong_labels(rows)
        left_out = rows.left_out
        order = np.argsort(measure_trust(left_out.labels, left_out.probabilities), kind="stable")
        first = left_out.rows[order[: round(FIRST * len(order))]]
        fixed = labels.copy()
        for issue in issues:
            fixed[issue.row] = names.index(issue.suggestion)
        results.append(
            {
                "seed": seed,
                "in_first_tenth": float(np.isin(flipped, first).mean()),
                "listed": float(np.isin(flipped, [issue.row for issue in issues]).mean()),
                "n_listed": len(issues),
                "accuracy": {"clean": clean, "flipped": score(labels), "fixed": score(fixed)},
            }
        )
    return {"n_images": len(train), "n_flipped": len(flipped), "seeds": results}


def print_labels(found: dict) -> None:
    columns = ["seed", "in_first_tenth", "listed", "n_listed"]
    seeds = found["seeds"]
    rows = [[one[name] for name in columns] for one in seeds]
    middle = ["median", *(statistics.median(one[name] for one in seeds) for name in columns[1:])]
    print(f"{found['n_flipped']} of {found['n_images']} training labels flipped")
    print_table(columns, [*rows, middle])
    print("Accuracy on val, mean of the seeds")
    lines = []
    for head in HEADS:
        clean, flipped, fixed = (
            statistics.mean(one["accuracy"][labels][head] for one in seeds)
            for labels in ("clean", "flipped", "fixed")
        )
        back = f"{(fixed - flipped) / (clean - flipped):.0%}" if clean > flipped else "-"
        lines.append([head, clean, flipped, fixed, back])
    print_table(["head", "clean", "flipped", "fixed", "brought back"], lines)


def measure_equal(path: Path) -> dict:
    """Sets of equal images, by how many each has."""
    from pipeline.features.feature_file import FeatureFile
    from pipeline.heads.audit.audit import divide_as_usual
    from pipeline.heads.audit.audited_rows import AuditedRows
    from pipeline.heads.audit.equal_images import find_equal

    with FeatureFile(path) as file:
        contents, features = file.contents, file.read_all()
    rows = AuditedRows(features, contents, *divide_as_usual(contents, None))
    issues, findings = find_equal(rows)
    return {
        "headings": [finding.heading for finding in findings],
        "n_issues": len(issues),
    }


def measure_time(n_images: int, n_features: int) -> dict:
    """Seconds and peak memory of `cli.py audit`, the whole process."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "features.h5")
        making = [sys.executable, __file__, "--make", folder, "--images", n_images]
        run_process([*making, "--features", n_features])  # its memory stays out of this process
        usage = run_process(
            [sys.executable, "cli.py", "audit", made, "--output", Path(folder, "out"), "--quiet"]
        )
    return {
        "n_images": n_images,
        "seconds": usage.seconds,
        "cpu_seconds": usage.cpu_seconds,
        "peak_bytes": usage.peak_bytes,
    }


def make_data(folder: Path, n_images: int, n_features: int) -> None:
    """A feature file, and the images of which it speaks: small photos with noise of their own."""
    from PIL import Image

    from benchmarks.synthetic_features import write_synthetic_features

    random = np.random.default_rng(0)
    grid = np.linspace(0, 1, 96)
    root = folder / "images"

    def make_image(name: str) -> bytes:
        ramp = np.outer(grid, random.random(3)).reshape(96, 1, 3) + 0.2 * random.random(3)
        pixels = 200 * ramp + 40 * random.random((96, 96, 3))
        buffer = io.BytesIO()
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=80)
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
        return buffer.getvalue()

    write_synthetic_features(
        folder / "features.h5",
        n_images,
        n_features,
        n_classes=10,
        make_image=make_image,
        data_root=str(root),
    )


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--labels", type=Path, metavar="FEATURES", help="flip labels of this file")
    parser.add_argument("--equal", type=Path, metavar="FEATURES", help="equal images of this file")
    parser.add_argument("--images", type=int, metavar="N", help="time an audit of so many")
    parser.add_argument("--features", type=int, default=1280, help="of each image")
    parser.add_argument("--make", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.make is not None:
        make_data(asked.make, asked.images, asked.features)
        return
    machine = describe_machine(("numpy", "scikit-learn", "pillow"))
    print_machine(machine)
    results = {}
    if asked.labels is not None:
        results["labels"] = measure_labels(asked.labels, 2 if asked.short else 5)
        print_labels(results["labels"])
    if asked.equal is not None:
        results["equal"] = measure_equal(asked.equal)
        print(*results["equal"]["headings"], sep="\n")
    if asked.images is not None:
        results["time"] = measure_time(asked.images, asked.features)
        print_table(list(results["time"]), [list(results["time"].values())])
    write_results(asked.json, machine, results)


if __name__ == "__main__":
    main()
