"""What a run says of each image: `predictions.csv` for people, `predictions.npz` for programs.

The .npz has `probabilities`, float32 `(n_samples, n_classes)`, in the order of the CSV's rows and
of the run's classes. Of up to 100 classes the CSV has them all, too, a column each, to 8 digits; of
more it has the label's and the five highest, since 2,000 columns are no table. Runs of 0.1.0 have
the CSV alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import RunError
from pipeline.images.splits import SPLITS
from pipeline.runs.run_folder import Run
from pipeline.system.array_files import UnreadableError, read_arrays
from pipeline.system.atomic_files import atomic_path
from pipeline.system.csv_files import read_csv, write_csv
from pipeline.system.expected_tables import Table

MOST_COLUMNS = 100
N_HIGHEST = 5
_ROWS_PER_WORD = 1000
CSV_NAME, ARRAY_NAME = "predictions.csv", "predictions.npz"

_COLUMNS = ["path", "split", "label", "predicted"]
_SPLIT_OF = {name: split for split, name in enumerate(SPLITS)} | {"": -1}


@dataclass(frozen=True)
class Predictions:
    """What a model says of every image; all have `n_samples` rows."""

    paths: list[str]
    splits: np.ndarray  # int8, -1 = none
    labels: np.ndarray  # int32, -1 = none
    probabilities: np.ndarray  # float32 (n_samples, n_classes)


def write_predictions(
    folder: Path,
    predictions: Predictions,
    class_names: list[str],
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> None:
    """Writes both files.

    Args:
        on_progress: called with a stage, how many images are written, and how many there are.
    """

    def tell(rows: Iterator[list[str]]) -> Iterator[list[str]]:
        n_images = len(predictions.paths)
        for number, row in enumerate(rows):  # the first holds the names of the columns
            yield row
            if number % _ROWS_PER_WORD == 0 or number == n_images:
                on_progress("Writing", number, n_images)

    write_csv(folder / CSV_NAME, tell(_describe(predictions, class_names)))
    with atomic_path(folder / ARRAY_NAME) as path:
        np.savez(path, probabilities=predictions.probabilities.astype(np.float32, copy=False))


def _describe(predictions: Predictions, class_names: list[str]) -> Iterator[list[str]]:
    """The CSV's rows, the first of them the names of the columns."""
    yield [*_COLUMNS, *name_probabilities(class_names)]
    for row, path in enumerate(predictions.paths):
        label, split = int(predictions.labels[row]), int(predictions.splits[row])
        probabilities = predictions.probabilities[row]
        yield [
            path,
            SPLITS[split] if split >= 0 else "",
            class_names[label] if label >= 0 else "",
            class_names[probabilities.argmax()],
            *describe_probabilities(probabilities, label, class_names),
        ]


def name_probabilities(class_names: list[str]) -> list[str]:
    """The columns of probabilities: one for each class, or of more than 100 the highest ones."""
    return class_names if len(class_names) <= MOST_COLUMNS else _name_highest()


def describe_probabilities(
    probabilities: np.ndarray, label: int, class_names: list[str]
) -> list[str]:
    """The fields of one image in these columns; `label` is -1 for none."""
    if len(class_names) <= MOST_COLUMNS:
        return list(map(_to_text, probabilities.tolist()))
    return list(_describe_highest(probabilities, label, class_names))


def _name_highest() -> list[str]:
    ranks = range(1, N_HIGHEST + 1)
    pairs = [name for rank in ranks for name in (f"class_{rank}", f"probability_{rank}")]
    return ["probability_of_label", *pairs]


def _describe_highest(
    probabilities: np.ndarray, label: int, class_names: list[str]
) -> Iterator[str]:
    yield _to_text(probabilities[label]) if label >= 0 else ""
    for column in np.argsort(-probabilities, kind="stable")[:N_HIGHEST].tolist():
        yield class_names[column]
        yield _to_text(probabilities[column])


def _to_text(probability: float) -> str:
    return f"{probability:.8g}"


def read_predictions(run: Run) -> Predictions:
    """Reads what a run says of each image.

    Raises:
        RunError: it is missing or damaged.
    """
    path = run.folder / CSV_NAME
    try:
        header, *rows = list(read_csv(path)) or [[]]
        paths, splits, labels = _parse_images(header, rows, run.class_names)
        if (run.folder / ARRAY_NAME).exists():
            path = run.folder / ARRAY_NAME
            probabilities = _read_array(path, (len(rows), len(run.class_names)))
        else:
            probabilities = _parse_probabilities(header, rows, run.class_names)
    except (OSError, ValueError, UnreadableError) as error:
        raise RunError(
            f"The predictions of this run cannot be read ({error}). Received: {path}\n"
            "Fit the head again."
        ) from error
    return Predictions(paths, splits, labels, probabilities)


def read_splits(run: Run) -> np.ndarray:
    """The split of each image, int8 (n_samples,).

    Raises:
        RunError: it is missing or damaged.
    """
    return read_images(run)[1]


def read_images(run: Run) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Path, split, int8, and label, int32, of each image, without what the run says of it.

    Raises:
        RunError: it is missing or damaged.
    """
    path = run.folder / CSV_NAME
    try:
        rows = read_csv(path)
        return _parse_images(next(rows, []), list(rows), run.class_names)
    except (OSError, ValueError) as error:
        raise RunError(
            f"The splits of this run's images cannot be read ({error}). Received: {path}\n"
            "Fit the head again."
        ) from error


def _parse_images(
    header: list[str], rows: list[list[str]], class_names: list[str]
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Paths, splits and labels."""
    if header[: len(_COLUMNS)] != _COLUMNS:
        raise ValueError(f"its first line is not {','.join(_COLUMNS)} and so on")
    if not rows:
        raise ValueError("it has no rows")
    label_of = {name: label for label, name in enumerate(class_names)} | {"": -1}
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise ValueError(f"row {number:,} has {len(row)} fields instead of {len(header)}")
        if row[1] not in _SPLIT_OF or row[2] not in label_of:
            raise ValueError(f"row {number:,} has no such split or label: {row[1]!r}, {row[2]!r}")
    return (
        [row[0] for row in rows],
        np.array([_SPLIT_OF[row[1]] for row in rows], np.int8),
        np.array([label_of[row[2]] for row in rows], np.int32),
    )


def _parse_probabilities(
    header: list[str], rows: list[list[str]], class_names: list[str]
) -> np.ndarray:
    """Of the CSV, which has them all in runs of 0.1.0."""
    if header != [*_COLUMNS, *class_names]:
        raise ValueError(
            f"its first line is not {','.join(_COLUMNS)} and the classes, and there is no "
            f"{ARRAY_NAME} beside it"
        )
    return np.array([row[len(_COLUMNS) :] for row in rows], np.float32)


def _read_array(path: Path, shape: tuple[int, int]) -> np.ndarray:
    probabilities = read_arrays(path, {"probabilities": Table(np.float32, shape)})["probabilities"]
    if not np.isfinite(probabilities).all():
        raise ValueError("it holds NaN or infinity")
    return probabilities
