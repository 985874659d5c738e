"""The features that a run's head was fitted on, and which rows of them are its images."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from pipeline.errors import FeatureFileError, RunError
from pipeline.features.feature_file import Contents
from pipeline.features.joined_features import open_features_to_fit
from pipeline.features.sliced_rows import FeatureRows
from pipeline.images.groups import find_groups, make_group_keys
from pipeline.runs.predictions import Predictions, read_predictions
from pipeline.runs.records import read_digests
from pipeline.runs.run_folder import Run
from pipeline.system.memory import available_bytes


@dataclass(frozen=True)
class RowsOfRun:
    """Rows of features with what the run says of them.

    Args:
        features: float32 `(n_rows, n_features)`, of the file or files.
        units: int `(n_rows,)`, equal for equal images and for those of a group.
        said: of the run's images.
        rows: int64 `(n_images,)`, the row of each of the run's images.
    """

    features: FeatureRows
    units: np.ndarray
    said: Predictions
    rows: np.ndarray


@contextmanager
def open_rows_of_run(run: Run) -> Iterator[RowsOfRun]:
    """Opens the features that a run was made from; they can be read until the block ends.

    Raises:
        RunError: it is a fine-tuned one, or does not say which file it was made from.
        FeatureFileError: that file is gone, or has changed.
    """
    files = find_feature_files(run)
    said = read_predictions(run)
    digests = read_digests(run, len(said.paths))
    with open_features_to_fit(files, join=len(files) > 1) as file:
        rows = _find_rows(run, file.contents, said.paths, digests)
        features = FeatureRows(file, max(1, available_bytes() // 2))
        yield RowsOfRun(features, _find_units(run, file.contents), said, rows)


def find_feature_files(run: Run) -> list[str]:
    """The feature files of a run."""
    tuned = run.manifest.finetuning
    if tuned is not None:
        raise RunError(
            "Many heads can be fitted on cached features, which a fine-tuned run has none of. "
            f"Expected the run that this one was fine-tuned from. Received: {run.folder}\n"
            f"That one is {tuned.parent}"
        )
    files = [used.features.features_file for used in run.manifest.backbones if used.features]
    if len(files) < len(run.manifest.backbones):
        raise RunError(
            "This run does not say which feature file it was made from. Expected one that does. "
            f"Received: {run.folder}\nFit the head again."
        )
    return files


def _find_rows(
    run: Run, contents: Contents, paths: list[str], digests: np.ndarray | None
) -> np.ndarray:
    """The row of each image of the run in the feature file, int64."""
    row_of = {path: row for row, path in enumerate(contents.images.paths)}
    rows = np.array([row_of.get(path, -1) for path in paths], np.int64)
    is_other = rows < 0
    if digests is not None:
        is_other |= (contents.images.digests[rows] != digests).any(axis=1)
    if is_other.any():
        raise FeatureFileError(
            "The feature file that this run was made from has changed since. Expected all of its "
            f"{len(paths):,} images. Received: {int(is_other.sum()):,} that are gone or others\n"
            f"Fit the head of {run.folder} again."
        )
    return rows


def _find_units(run: Run, contents: Contents) -> np.ndarray:
    """Numbers that are the same for equal images, and for those of a group."""
    keys, pattern = contents.images.digests, run.manifest.splits.group_by
    if pattern is not None:
        keys = make_group_keys(keys, find_groups(contents.images.paths, pattern))
    units: np.ndarray = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    return units
