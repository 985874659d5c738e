"""What an audit finds, what mending brings, and how long it takes.

    python benchmarks/audit.py --labels flowers.h5     # 5% of training labels flipped, five seeds
    python benchmarks/audit.py --equal animals.h5      # sets of equal images
    python benchmarks/audit.py --images 10000          # time and peak memory of the whole process

`--labels` takes a feature file whose source gives a val split. Of its training labels 5% become
another class at random. Told are, of the flipped ones, the share among the first tenth of all
labelled images, ordered by how little their labels are to be trusted, and the share that the audit
lists; and the accuracy of a logistic head on the val images (whose labels are as they were) when it
is trained on the true labels, the flipped ones, and the flipped ones with what the audit suggests.
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

    def score(labels: np.ndarray) -> float:
        fitted = fit(features, labels, split=contents.splits, class_names=names)
        return fitted.metrics["val"].accuracy

    clean = score(contents.labels)
    results = []
    for seed in range(n_seeds):
        random = np.random.default_rng(seed)
        flipped = random.choice(train, round(FLIPPED * len(train)), replace=False)
        labels = contents.labels.copy()
        step = random.integers(1, len(names), len(flipped))
        labels[flipped] = (labels[flipped] + step) % len(names)
        changed = replace(contents, labels=labels, entries=None)
        rows = AuditedRows(features, changed, *divide_as_usual(changed, None))
        issues, _ = find_wrong_labels(rows)
        left_out = rows.left_out
        order = np.argsort(measure_trust(left_out.labels, left_out.probabilities), kind="stable")
        first = left_out.rows[order[: round(FIRST * len(order))]]
        fixed = labels.copy()
        is_train = np.isin(np.arange(len(labels)), train)
        for issue in issues:
            if is_train[issue.row]:
                fixed[issue.row] = names.index(issue.suggestion)
        results.append(
            {
                "seed": seed,
                "in_first_tenth": float(np.isin(flipped, first).mean()),
                "listed": float(np.isin(flipped, [issue.row for issue in issues]).mean()),
                "n_listed": len(issues),
                "clean": clean,
                "flipped": score(labels),
                "fixed": score(fixed),
            }
        )
    return {"n_images": len(features), "n_flipped": len(flipped), "seeds": results}


def print_labels(found: dict) -> None:
    columns = ["seed", "in_first_tenth", "listed", "n_listed", "clean", "flipped", "fixed"]
    rows = [[one[name] for name in columns] for one in found["seeds"]]
    middle = ["median", *(statistics.median(one[name] for one in found["seeds"])
                          for name in columns[1:])]  # fmt: skip
    print(f"{found['n_flipped']} of the training labels flipped, {found['n_images']} images")
    print_table(columns, [*rows, middle])
    means = {name: statistics.mean(one[name] for one in found["seeds"]) for name in columns[4:]}
    lost, back = means["clean"] - means["flipped"], means["fixed"] - means["flipped"]
    share = f"{back / lost:.0%}" if lost > 0 else "nothing was lost"
    print(f"Means: lost {lost:.4f}, brought back {back:.4f} ({share})")


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
