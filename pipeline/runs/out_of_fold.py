"""What cross-validation says of each image: predictions by heads that were fitted without it.

`out-of-fold.csv` is for people, a row for each image and repeat; `out-of-fold.npz` has for programs
`rows`, int64 `(n_rows,)`, the images' numbers in `predictions.csv`; `folds`, int64
`(n_repeats, n_rows)`, in which fold each was; and `probabilities`, float32
`(n_repeats, n_rows, n_classes)`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.errors import RunError
from pipeline.runs.fold_scores import FoldScores
from pipeline.runs.predictions import describe_probabilities, name_probabilities
from pipeline.runs.run_folder import Run
from pipeline.runs.scores import Metrics, score_predictions, wilson_interval
from pipeline.system.array_files import UnreadableError, read_arrays
from pipeline.system.atomic_files import atomic_path
from pipeline.system.csv_files import write_csv
from pipeline.system.expected_tables import Table

CSV_NAME, ARRAY_NAME = "out-of-fold.csv", "out-of-fold.npz"


@dataclass(frozen=True)
class OutOfFold:
    """Predictions of images by heads that were fitted on the other folds.

    Args:
        rows: int64 `(n_rows,)`, numbers of the images.
        folds: int64 `(n_repeats, n_rows)`, from 0: the fold that each was in.
        probabilities: float32 `(n_repeats, n_rows, n_classes)`.
    """

    rows: np.ndarray
    folds: np.ndarray
    probabilities: np.ndarray


def score_out_of_fold(
    found: OutOfFold, labels: np.ndarray, class_names: list[str]
) -> tuple[Metrics, FoldScores]:
    """The scores of all folds together, and the accuracy of each.

    Repeats add no images: shares are means over the repeats, the interval is that of the images.

    Args:
        found: of all images that were in folds.
        labels: int `(n_samples,)`, of all images.
        class_names: in the order of the columns.
    """
    n_repeats, n_rows, n_classes = found.probabilities.shape
    of_rows = labels[found.rows]
    pooled = score_predictions(
        np.tile(of_rows, n_repeats), found.probabilities.reshape(-1, n_classes), class_names
    )
    metrics = replace(
        pooled,
        n_samples=n_rows,
        accuracy_interval=wilson_interval(pooled.accuracy * n_rows, n_rows),
        per_class=[replace(one, n_samples=one.n_samples // n_repeats) for one in pooled.per_class],
    )
    hits = found.probabilities.argmax(axis=2) == of_rows
    n_folds = int(found.folds.max()) + 1
    accuracies = [
        [float(hit[fold == number].mean()) for number in range(n_folds)]
        for hit, fold in zip(hits, found.folds, strict=True)
    ]
    spread = float(np.std(accuracies, ddof=1))
    return metrics, FoldScores(n_folds, n_repeats, accuracies, spread)


def write_out_of_fold(
    folder: Path, found: OutOfFold, paths: list[str], labels: np.ndarray, class_names: list[str]
) -> None:
    """Writes both files.

    Args:
        paths: of all images of the run.
        labels: int `(n_samples,)`, of all images.
    """

    def describe() -> Iterator[list[str]]:
        yield ["path", "repeat", "fold", "label", "predicted", *name_probabilities(class_names)]
        for repeat, probabilities in enumerate(found.probabilities):
            for place, row in enumerate(found.rows.tolist()):
                of_row = probabilities[place]
                yield [
                    paths[row],
                    str(repeat + 1),
                    str(int(found.folds[repeat, place]) + 1),
                    class_names[labels[row]],
                    class_names[of_row.argmax()],
                    *describe_probabilities(of_row, int(labels[row]), class_names),
                ]

    write_csv(folder / CSV_NAME, describe())
    with atomic_path(folder / ARRAY_NAME) as path:
        np.savez(path, rows=found.rows, folds=found.folds, probabilities=found.probabilities)


def read_out_of_fold(run: Run) -> OutOfFold:
    """Reads what cross-validation said of the images of a run.

    Raises:
        RunError: the run was made without folds, or the file is missing or damaged.
    """
    path = run.folder / ARRAY_NAME
    scores = run.manifest.folds
    if scores is None:
        raise RunError(
            f"This run has no predictions out of folds. Received: {run.folder}\n"
            "`frostline.fit_head(FEATURES, folds=5)` makes one that has."
        )
    expected = {
        "rows": Table(np.int64, ("n_rows",)),
        "folds": Table(np.int64, (scores.n_repeats, "n_rows")),
        "probabilities": Table(np.float32, (scores.n_repeats, "n_rows", len(run.class_names))),
    }
    try:
        arrays = read_arrays(path, expected)
    except UnreadableError as error:
        raise RunError(
            f"The predictions out of folds cannot be read ({error}). Received: {path}\n"
            "Fit the head again."
        ) from error
    return OutOfFold(**arrays)
