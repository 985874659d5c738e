"""The forecast of a run: its images, its division of them, the features that it was made from."""

import os

import numpy as np

from pipeline.errors import FeatureFileError, RunError
from pipeline.features.feature_file import Contents
from pipeline.features.joined_features import open_features_to_fit
from pipeline.features.sliced_rows import FeatureRows
from pipeline.heads.few_images.shots import FEW_IMAGES_C
from pipeline.heads.forecast.forecast import Forecast, forecast_accuracy
from pipeline.images.groups import find_groups, make_group_keys
from pipeline.images.splits import TEST, TRAIN, UNLABELLED, VAL
from pipeline.runs.predictions import read_predictions
from pipeline.runs.records import read_digests
from pipeline.runs.run_folder import Run, open_run
from pipeline.system.memory import available_bytes
from pipeline.system.progress import OnProgress


def forecast(
    run: Run | str | os.PathLike[str],
    *,
    seed: int = 0,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Forecast:
    """Forecasts what more training images would bring to a run; see `forecast_accuracy`.

    Scored are the run's test images, or those of validation; those that trained in turn, where it
    has neither. The head is the logistic one, with the run's own C where it is of that kind. Of
    augmented views it takes none.

    Args:
        run: with a head on features.
        seed: decides which images are drawn.
        on_progress: called with a stage, the number of draws done and to do.

    Returns:
        The `Forecast`.

    Raises:
        RunError: there is no such run, or it is a fine-tuned one.
        FeatureFileError: the features that it was made from are gone, or have changed.
        SplitError: it has too few training images.
    """
    run = run if isinstance(run, Run) else open_run(run)
    files = _find_files(run)
    said = read_predictions(run)
    digests = read_digests(run, len(said.paths))
    with open_features_to_fit(files, join=len(files) > 1) as file:
        rows = _find_rows(run, file.contents, said.paths, digests)
        features = FeatureRows(file, max(1, available_bytes() // 2))
        n_samples = len(features)
        labels = np.full(n_samples, UNLABELLED, np.int64)
        splits = np.full(n_samples, -1, np.int8)
        labels[rows], splits[rows] = said.labels, said.splits
        splits[labels == UNLABELLED] = -1
        scored = next((splits == one for one in (TEST, VAL) if np.any(splits == one)), None)
        is_logistic = run.kind == "logreg" and run.manifest.history.x == "C"
        class_weight = run.manifest.parameters.get("class_weight")
        return forecast_accuracy(
            features,
            labels,
            splits == TRAIN,
            scored,
            class_names=run.class_names,
            units=_find_units(run, file.contents),
            C=float(run.manifest.history.best) if is_logistic else FEW_IMAGES_C,
            class_weight=None if class_weight is None else str(class_weight),
            seed=seed,
            on_progress=on_progress,
        )


def _find_files(run: Run) -> list[str]:
    """The feature files of a run."""
    tuned = run.manifest.finetuning
    if tuned is not None:
        raise RunError(
            "A forecast is of a head on cached features, of which many can be fitted. Expected the "
            f"run that this one was fine-tuned from. Received: {run.folder}\n"
            f"`frostline.forecast({str(tuned.parent)!r})` forecasts that one."
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
