"""Stage two: fit a head on a feature file and write the run. Never touches an image."""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import FeatureFileError, ParameterError
from pipeline.features.feature_file import Contents
from pipeline.features.joined_features import JoinedFeatures, open_features_to_fit
from pipeline.features.sliced_rows import FeatureRows
from pipeline.features.split_notes import describe_small_classes
from pipeline.features.split_rows import Division, count_images
from pipeline.heads.class_weights import BALANCED
from pipeline.heads.fit import Fit, fit
from pipeline.heads.fit_options import FitOptions, check_fit_options
from pipeline.heads.registry import find_head
from pipeline.heads.rows.divided_file import divide_file
from pipeline.heads.rows.fitted_files import describe_files
from pipeline.heads.rows.seen_before import describe_seen_images
from pipeline.heads.rows.views_of_file import describe_views, open_views
from pipeline.heads.selection import Selection
from pipeline.heads.tempered import calibrate
from pipeline.heads.write_run import write_head_run
from pipeline.images.splits import SPLITS, TEST, TRAIN, VAL
from pipeline.runs.fold_scores import FoldScores
from pipeline.runs.mistakes import Mistakes, find_mistakes
from pipeline.runs.predictions import Predictions
from pipeline.runs.promise.guard import Guard
from pipeline.runs.promise.make_guard import make_guard
from pipeline.runs.promise.options import PromiseOptions
from pipeline.runs.promise.record import PromisePart
from pipeline.runs.run_folder import claim_output, open_run
from pipeline.runs.scores import FOLDS, SCORED_SPLITS, Metrics
from pipeline.runs.tracking.log import MlflowRun, log_result, require_tracking
from pipeline.system.memory import SCIPY_BYTES, available_bytes, parse_memory, require_memory
from pipeline.system.paths import as_path
from pipeline.system.printable import count
from pipeline.system.progress import OnProgress


@dataclass(frozen=True)
class FitResult:
    """The run that was written and what it says.

    `n_images` is int (n_classes, 3): images per class and split. `promise` is None where none was
    asked for. `folds` is there where the head was cross-validated; the scores are
    `metrics["folds"]` then. `mistakes` are of the test split, where there is one, else of val.
    `mlflow` is where the run was logged, None where that was not asked for.
    """

    folder: Path
    metrics: dict[str, Metrics]
    chosen: str
    chosen_by: str
    notes: list[str]
    seconds: float
    class_names: list[str]
    n_images: np.ndarray = field(repr=False)
    mistakes: Mistakes
    promise: PromisePart | None = None
    folds: FoldScores | None = None
    mlflow: MlflowRun | None = None

    def __fspath__(self) -> str:
        return str(self.folder)

    def _repr_html_(self) -> str:
        return open_run(self.folder)._repr_html_()


# A feature file, or several that are joined.
FeaturesToFit = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


def fit_head(
    features: FeaturesToFit,
    *,
    join: bool = False,
    head: str = "logreg",
    memory: int | str | None = None,
    output: str | Path | None = None,
    force: bool = False,
    mlflow: str | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
    **options: Any,
) -> FitResult:
    """Fits a head on a feature file and writes a run.

    Args:
        features: the feature file; with `join` two or more.
        join: put the features of several files side by side, of the images that all of them have;
            what uses the run computes with the backbones of all. Splits are those of the first.
        head: name of a head in the registry.
        memory: bytes for features, or a text such as `2GB` or `50%` (of what is free); those of a
            file that is larger are read from it again and again, with the same result. None =
            half of what is free.
        output: the run's folder, None for `runs/DATA-BACKBONE-HEAD-NUMBER`.
        force: overwrite what is there.
        mlflow: address of the MLflow server to which the run is logged once it is written.
        on_progress: called with a stage, the number done and the number to do.
        options: of `QuestionOptions`, `SplitOptions`, `FoldOptions`, `PromiseOptions`,
            `ViewOptions` and of the head's own; see
            `features/question.py`, `features/options.py`, `runs/promise/options.py` and
            `heads/options.py`.

    Returns:
        The `FitResult`.

    Raises:
        HeadError: no such head.
        ParameterError: an option that makes no sense.
        FeatureFileError: no feature file, or a damaged one, or files that cannot be joined.
        DatasetError: its images have no labels, or only one class.
        SplitError: a class too small to be split.
        PromiseError: the head cannot promise what was asked for; nothing is written.
        RunError: the output exists.
        LockedError: another process is about to write the output.
        MissingExtraError: MLflow is not installed.
        TrackingError: the run cannot be logged to MLflow. If that was known before, nothing was
            done; else the run is written, and the error's `result` is the `FitResult`.
    """
    target = None if output is None else as_path(output, "output")
    if mlflow is not None:
        require_tracking(mlflow)
    with claim_output(target, force=force):
        result = fit_and_write(
            features,
            join=join,
            head=head,
            memory=memory,
            output=target,
            force=force,
            on_progress=on_progress,
            options=options,
        )
    return result if mlflow is None else log_result(result, mlflow, on_progress)


def fit_and_write(
    features: FeaturesToFit,
    *,
    join: bool,
    head: str,
    memory: int | str | None,
    output: Path | None,
    force: bool,
    on_progress: OnProgress,
    options: dict[str, Any],
    selection: Selection | None = None,
) -> FitResult:
    """`fit_head`, for whoever holds the output; of a setting that was chosen among several."""
    checked = check_fit_options(head, options)
    folding, promising = checked.folding, checked.promising
    require_memory(SCIPY_BYTES, "Fitting a head")
    n_bytes = count_bytes(memory)
    started = time.perf_counter()
    seconds = {}
    with open_features_to_fit(features, join=join) as file:
        divided = divide_file(file.contents, file.path, checked, options)
        contents, division, dividing = divided.contents, divided.division, divided.dividing
        rows = FeatureRows(file, n_bytes)
        views = open_views(file, n_bytes - rows.kept_bytes, checked.viewing)
        source, further = describe_files(file, rows, division.equal_images)
        joining = file.notes if isinstance(file, JoinedFeatures) else []
        seconds["read"] = time.perf_counter() - started
        fit_started = time.perf_counter()
        fitted = _fit_rows(
            rows,
            contents,
            division,
            head,
            {**checked.of_head, **asdict(folding)},
            views=views,
            tta=checked.viewing.tta,
            seed=dividing.seed,
            on_progress=on_progress,
        )
        if promising.needs_temperature:
            fitted = calibrate(fitted)
        if selection is not None:
            fitted = selection.mark(fitted)
        guard = _make_guard(rows, fitted, division, promising)
        seconds["fit"] = time.perf_counter() - fit_started
        probe_features = rows[contents.probe_rows]
    del rows, views  # what follows needs memory of its own
    n_images = count_images(fitted.splits, fitted.labels, len(fitted.class_names))
    idle = _describe_idle(head, options, checked, division, n_images)
    viewed = describe_views(contents.views, checked.viewing)
    seen = describe_seen_images(fitted, contents, further)
    if force and output is None:
        idle.append("`force` changes nothing without `output`: a new run gets a new name.")
    small_classes = _describe_small_classes(n_images, fitted.class_names)
    notes = [*joining, *divided.notes, *viewed, *idle, *small_classes, *fitted.notes, *seen]
    folder = write_head_run(
        fitted,
        contents,
        source,
        division,
        dividing,
        folding,
        promising,
        probe_features,
        asking=checked.asking,
        question=divided.question,
        viewing=checked.viewing,
        guard=guard,
        notes=notes,
        measure_seconds=lambda: {**seconds, "total": time.perf_counter() - started},
        output=output,
        force=force,
        further=further,
        on_progress=on_progress,
        selection=selection,
    )
    return FitResult(
        folder,
        fitted.metrics,
        fitted.chosen,
        fitted.chosen_by,
        notes,
        time.perf_counter() - started,
        fitted.class_names,
        n_images,
        _find_mistakes(fitted, contents.images.paths),
        folds=fitted.folds,
        promise=None if guard is None else guard.facts,
    )


def _describe_idle(
    head: str,
    options: dict[str, Any],
    checked: FitOptions,
    division: Division,
    n_images: np.ndarray,
) -> list[str]:
    """Options that were given and change nothing."""
    has_own_seed = "seed" in options and checked.folding.folds is None
    return [
        *(_describe_idle_seed(head, division) if has_own_seed else []),
        *checked.promising.describe_idle(options),
        *_describe_idle_weights(options, n_images[:, TRAIN]),
    ]


def _describe_small_classes(n_images: np.ndarray, class_names: list[str]) -> list[str]:
    """Of the splits that there are and that score a head."""
    notes = []
    for split, name in ((VAL, "validation"), (TEST, "test")):
        if n_images[:, split].any():
            notes += describe_small_classes(n_images[:, split], class_names, name)
    return notes


def _find_mistakes(fitted: Fit, paths: list[str]) -> Mistakes:
    """Of the split whose scores count most; of folds, by the mean of the repeats."""
    split = next(name for name in SCORED_SPLITS if name in fitted.metrics)
    if fitted.out_of_fold is not None and split == FOLDS:
        rows, probabilities = fitted.out_of_fold.rows, fitted.out_of_fold.probabilities.mean(axis=0)
        said = Predictions(
            [paths[row] for row in rows.tolist()],
            fitted.splits[rows],
            fitted.labels[rows],
            probabilities,
        )
        return find_mistakes(said, fitted.class_names, of="out-of-fold")
    said = Predictions(paths, fitted.splits, fitted.labels, fitted.probabilities)
    return find_mistakes(said, fitted.class_names, SPLITS.index(split), split)


def _make_guard(
    rows: FeatureRows, fitted: Fit, division: Division, promising: PromiseOptions
) -> Guard | None:
    if promising.promise is None:
        return None
    return make_guard(
        rows, fitted.labels, fitted.splits, fitted.probabilities, division.units, promising
    )


def _describe_idle_seed(head: str, division: Division) -> list[str]:
    """Says of a seed that was given that it decides nothing, where that is so."""
    if division.made or find_head(head).uses_seed:
        return []
    return [
        "`seed` changes nothing: the data set itself says which image is in which split, and the "
        f"head `{head}` leaves nothing to chance."
    ]


def _describe_idle_weights(options: dict[str, Any], n_train: np.ndarray) -> list[str]:
    """Says of balanced weights that they are all 1, where that is so.

    Args:
        n_train: training images of each class, int (n_classes,).
    """
    if options.get("class_weight") != BALANCED or len(set(n_train.tolist())) > 1:
        return []
    return [
        "`class_weight='balanced'` changes nothing: each class has "
        f"{count(int(n_train[0]), 'training image')}."
    ]


def count_bytes(memory: int | str | None) -> int:
    """The bytes that were allowed, at least 1."""
    if memory is None:
        return max(1, available_bytes() // 2)
    n_bytes = memory if isinstance(memory, Integral) and not isinstance(memory, bool) else 0
    if isinstance(memory, str):
        with suppress(ValueError):
            n_bytes = parse_memory(memory)
    if n_bytes < 1:
        raise ParameterError(
            "Expected `memory` to be a number of bytes, at least 1, a size such as 2GB, 500MB or "
            "1.5GiB, or a share of the memory that is free, such as 50%. Received: "
            f"{memory!r}",
            "memory",
        )
    return int(n_bytes)


def _fit_rows(
    rows: FeatureRows,
    contents: Contents,
    division: Division,
    head: str,
    options: dict[str, Any],
    *,
    views: FeatureRows | None,
    tta: bool,
    seed: int,
    on_progress: OnProgress,
) -> Fit:
    """`fit` on the rows of a file, which is at fault for features that cannot be used."""
    try:
        return fit(
            rows,
            contents.labels,
            split=division.splits,
            head=head,
            class_names=contents.class_names,
            groups=division.units,
            views=views,
            tta=tta,
            seed=seed,
            on_progress=on_progress,
            **options,
        )
    except ParameterError as error:
        if error.parameter != "features":
            raise
        raise FeatureFileError(
            f"{error}. Extract the features again, in float32 if a reduced precision was used"
        ) from error
