"""The confusion matrices of a run, in a file of their own: 2,000 classes make 4,000,000 cells each.

`confusion-matrices.npz` has for each split, `train`, `val` and `test`, and for `folds`, integers
`(n_classes, n_classes)`: rows are labels, columns predictions; of folds the sum over repeats. Of a
fine-tuned run it has those of the frozen head, too: `frozen_val` and so on.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.errors import RunError
from pipeline.images.splits import SPLITS
from pipeline.runs.manifest import Manifest
from pipeline.runs.run_folder import Run
from pipeline.runs.scores import FOLDS, Metrics
from pipeline.system.array_files import UnreadableError, read_arrays
from pipeline.system.atomic_files import atomic_path
from pipeline.system.expected_tables import Table

FILE_NAME = "confusion-matrices.npz"
FROZEN = "frozen_"
_BYTES_PER_CELL, _ROOM_FOR_HEADER = 8, 4096  # at most; a file holds them in fewer, and packed


def write_confusion_matrices(folder: Path, manifest: Manifest) -> None:
    """Writes the matrices of all scores of a manifest."""
    matrices = {
        name: _in_few_bytes(scores.confusion_matrix)
        for name, scores in _list_scores(manifest).items()
        if scores.confusion_matrix.size
    }
    with atomic_path(folder / FILE_NAME) as path:
        np.savez_compressed(path, allow_pickle=False, **matrices)


def read_confusion_matrices(run: Run) -> dict[str, np.ndarray]:
    """The matrices by name, int `(n_classes, n_classes)`; old runs have them in the manifest.

    Raises:
        RunError: they are missing or damaged.
    """
    scores = _list_scores(run.manifest)
    if all(one.confusion_matrix.size for one in scores.values()):
        return {name: one.confusion_matrix for name, one in scores.items()}
    path, n_classes = run.folder / FILE_NAME, len(run.class_names)
    expected = dict.fromkeys(scores, Table(np.integer, (n_classes, n_classes)))
    most = len(scores) * (_BYTES_PER_CELL * n_classes**2 + _ROOM_FOR_HEADER)
    try:
        return read_arrays(path, expected, most_unpacked=most)
    except UnreadableError as error:
        raise RunError(
            f"The confusion matrices of this run cannot be read ({error}). Received: {path}\n"
            "Make the run again."
        ) from error


def _list_scores(manifest: Manifest) -> dict[str, Metrics]:
    def in_order(scores: Mapping[str, Metrics], start: str = "") -> dict[str, Metrics]:
        return {f"{start}{name}": scores[name] for name in (*SPLITS, FOLDS) if name in scores}

    tuned = manifest.finetuning
    frozen = {} if tuned is None else in_order(tuned.metrics_frozen, FROZEN)
    return {**in_order(manifest.metrics), **frozen}


def _in_few_bytes(matrix: np.ndarray) -> np.ndarray:
    return matrix.astype(np.min_scalar_type(int(matrix.max(initial=0))))
