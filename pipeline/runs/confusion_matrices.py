"""The confusion matrices of a run, in a file of their own: 2,000 classes make 4,000,000 cells each.

`confusion-matrices.npz` has for each split, `train`, `val` and `test`, integers
`(n_classes, n_classes)`: rows are labels, columns predictions. Of a fine-tuned run it has those of
the frozen head, too: `frozen_val` and so on.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pipeline.errors import RunError, describe_unread_arrays
from pipeline.images.splits import SPLITS
from pipeline.runs.manifest import Manifest
from pipeline.runs.run_folder import Run
from pipeline.runs.scores import Metrics
from pipeline.system.atomic_files import atomic_path

FILE_NAME = "confusion-matrices.npz"
FROZEN = "frozen_"


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
    try:
        with np.load(path, allow_pickle=False) as file:
            matrices = {name: file[name] for name in scores}
        for name, matrix in matrices.items():
            if matrix.shape != (n_classes, n_classes) or matrix.dtype.kind not in "iu":
                raise ValueError(f"{name} is {matrix.dtype} {matrix.shape}")
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise RunError(
            f"The confusion matrices of this run cannot be read ({describe_unread_arrays(error)}). "
            f"Expected integers ({n_classes}, {n_classes}) of {', '.join(scores)}. Received: {path}"
            "\nMake the run again."
        ) from error
    return matrices


def _list_scores(manifest: Manifest) -> dict[str, Metrics]:
    def in_order(scores: Mapping[str, Metrics], start: str = "") -> dict[str, Metrics]:
        return {f"{start}{name}": scores[name] for name in SPLITS if name in scores}

    tuned = manifest.finetuning
    frozen = {} if tuned is None else in_order(tuned.metrics_frozen, FROZEN)
    return {**in_order(manifest.metrics), **frozen}


def _in_few_bytes(matrix: np.ndarray) -> np.ndarray:
    return matrix.astype(np.min_scalar_type(int(matrix.max(initial=0))))
