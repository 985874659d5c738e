"""The run folder of a fitted head: the head, its manifest, its records and its pictures."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.features.feature_file import Contents
from pipeline.features.options import SplitOptions
from pipeline.features.question import Question, QuestionOptions
from pipeline.features.split_rows import Division
from pipeline.heads.fit import Fit
from pipeline.heads.options import FoldOptions, ViewOptions
from pipeline.heads.registry import find_head
from pipeline.heads.rows.fitted_files import FurtherFile
from pipeline.heads.selection import Selection
from pipeline.images.splits import NO_SPLIT, SPLITS, TRAIN
from pipeline.recipe import name_backbones
from pipeline.runs.binding import bind_names
from pipeline.runs.confusion_matrices import write_confusion_matrices
from pipeline.runs.manifest import (
    FeaturesPart,
    HistoryAxis,
    Manifest,
    SplitFacts,
    write_manifest,
)
from pipeline.runs.out_of_fold import write_out_of_fold
from pipeline.runs.predictions import Predictions, write_predictions
from pipeline.runs.promise.guard import Guard, save_guard
from pipeline.runs.promise.options import PromiseOptions
from pipeline.runs.records import (
    Probes,
    write_digests,
    write_history,
    write_probes,
)
from pipeline.runs.run_folder import describe_software, find_git_commit, new_run, now
from pipeline.runs.scored_images import identify_scored_images
from pipeline.runs.scores import FOLDS, SCORED_SPLITS
from pipeline.system.progress import OnProgress


def write_head_run(
    fitted: Fit,
    contents: Contents,
    source: FeaturesPart,
    division: Division,
    options: SplitOptions,
    folding: FoldOptions,
    promising: PromiseOptions,
    probe_features: np.ndarray,
    *,
    asking: QuestionOptions,
    question: Question | None,
    viewing: ViewOptions,
    guard: Guard | None,
    notes: list[str],
    measure_seconds: Callable[[], dict[str, float]],
    output: Path | None,
    force: bool,
    further: Sequence[FurtherFile] = (),
    on_progress: OnProgress = lambda stage, done, total: None,
    selection: Selection | None = None,
) -> Path:
    """Writes everything and gives the folder its name at the end.

    Args:
        fitted: on all rows of the feature file.
        contents: of the feature file.
        source: which file it was.
        division: of its images.
        options: how they were divided.
        folding: how the head was cross-validated.
        promising: what the head was to promise.
        probe_features: float32 `(n_probes, n_features)`.
        asking: which question was asked for.
        question: which one it is, None for that of the feature file.
        viewing: what was made of the feature file's views.
        guard: keeps the promise of the head, None where it makes none.
        notes: sentences for people.
        measure_seconds: seconds by stage, up to now.
        output: the run's folder, None for `runs/DATA-BACKBONE-HEAD-NUMBER`.
        further: the feature files that are joined to the first.
        on_progress: called with a stage, how many images are written, and how many there are.
        selection: among which settings this one was chosen; None where there was but one.

    Returns:
        The folder.

    Raises:
        RunError: the output exists.
    """
    recipes = [contents.recipe, *(other.backbone.recipe for other in further)]
    way = selection.name if selection else fitted.kind
    stem = f"{contents.data_name}-{name_backbones(recipes)}-{way}"
    with new_run(output, stem, force=force) as (folder, final):
        fitted.head.save(folder)
        write_history(folder / "history.csv", fitted.history)
        _write_images(folder, contents, fitted, on_progress)
        own = contents.probe_rows, contents.probe_pixels, probe_features
        others = [(one.probe_rows, one.probe_pixels, one.probe_features) for one in further]
        for place, probes in enumerate([own, *others]):
            _write_probes(folder, contents.images.paths, fitted, *probes, place, viewing)
        _draw(folder / "plots", final.name, fitted)
        promise = None if guard is None else save_guard(folder, guard)
        manifest = Manifest(
            kind=fitted.kind,
            created=now(),
            class_names=fitted.class_names,
            recipe=contents.recipe,
            recipe_id=contents.recipe.id,
            weights_source=contents.weights_source,
            data_root=contents.data_root,
            data_name=contents.data_name,
            splits=SplitFacts(**division.facts),
            parameters={
                "head": fitted.kind,
                **fitted.parameters,
                **asdict(options),
                **asdict(folding),
                **asdict(promising),
                **asdict(asking),
                **_describe_views(contents, viewing),
            },
            chosen=fitted.chosen,
            chosen_by=fitted.chosen_by,
            history=HistoryAxis(fitted.x, fitted.best),
            metrics=fitted.metrics,
            seconds=measure_seconds(),
            notes=notes,
            software=describe_software(),
            git_commit=find_git_commit(),
            engine=contents.engine,
            features=source,
            names_and_head_sha256=bind_names(
                folder, fitted.class_names, find_head(fitted.kind).files
            ),
            scored_images=_identify_images(contents, fitted),
            folds=fitted.folds,
            temperature=fitted.temperature,
            promise=promise,
            question=question,
            selection=None if selection is None else selection.bias,
            views=contents.views if viewing.views else None,
            tta=contents.views if viewing.tta else None,
            further_backbones=[other.backbone for other in further],
        )
        if selection is not None:
            selection.write(folder, final.name)
        write_manifest(folder, manifest)
        write_confusion_matrices(folder, manifest)
    return final


def _describe_views(contents: Contents, viewing: ViewOptions) -> dict[str, Any]:
    """As parameters by which runs are told apart; of a file without views there are none."""
    if contents.views is None:
        return {}
    return {
        "views": contents.views.number if viewing.views else 1,
        "augment": contents.views.augment,
        "tta": viewing.tta,
    }


def _write_images(
    folder: Path,
    contents: Contents,
    fitted: Fit,
    on_progress: OnProgress,
) -> None:
    """What the run says of each image, and which images these were."""
    images = contents.images
    predictions = Predictions(images.paths, fitted.splits, fitted.labels, fitted.probabilities)
    write_predictions(folder, predictions, fitted.class_names, on_progress)
    if fitted.out_of_fold is not None:
        write_out_of_fold(
            folder, fitted.out_of_fold, images.paths, fitted.labels, fitted.class_names
        )
    write_digests(folder, images.digests)


def _write_probes(
    folder: Path,
    paths: list[str],
    fitted: Fit,
    rows: np.ndarray,
    pixels: np.ndarray,
    features: np.ndarray,
    place: int,
    viewing: ViewOptions,
) -> None:
    """A head is proven by what it makes of view 0, also where its answers are averaged."""
    of_rows = [paths[row] for row in rows.tolist()]
    said = fitted.probabilities[rows]
    if viewing.tta and len(rows):
        said = fitted.head.predict_proba(features)
    write_probes(folder, Probes(of_rows, pixels, features, said), place)


def _identify_images(contents: Contents, fitted: Fit) -> dict[str, str]:
    """Which images were scored, by split and out of folds."""

    def identify(splits: np.ndarray) -> dict[str, str]:
        return identify_scored_images(
            contents.images.digests, splits, fitted.labels, fitted.class_names
        )

    found = identify(fitted.splits)
    if fitted.out_of_fold is not None:
        in_folds = np.full_like(fitted.splits, NO_SPLIT)
        in_folds[fitted.out_of_fold.rows] = TRAIN
        found[FOLDS] = identify(in_folds)[SPLITS[TRAIN]]
    return found


def _draw(folder: Path, name: str, fitted: Fit) -> None:
    from pipeline.runs.plots.confusion_matrix import plot_confusion_matrix
    from pipeline.runs.plots.learning_curves import plot_learning_curve

    folder.mkdir()
    best = fitted.best if fitted.chosen_by in ("val", "leave-one-out") else None
    plot_learning_curve(
        folder / "learning-curve", fitted.history, x=fitted.x, best=best, title=name
    )
    split = next(split for split in SCORED_SPLITS if split in fitted.metrics)
    plot_confusion_matrix(
        folder / "confusion-matrix",
        fitted.metrics[split].confusion_matrix,
        fitted.class_names,
        title=f"{name}, {'out of folds' if split == FOLDS else f'{split} split'}",
    )
