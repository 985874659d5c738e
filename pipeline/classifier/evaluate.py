"""Scores the model of a run on a labelled data set."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.backbones.engines.opening import require_device
from pipeline.classifier.model import (
    Classifier,
    Prediction,
    describe_rows,
    open_either,
    require_defaults,
)
from pipeline.classifier.parity import check_head
from pipeline.classifier.predict import LoadOptions, predict_or_refuse
from pipeline.errors import DatasetError
from pipeline.features.cached_rows import join_cached_rows, read_cached_rows
from pipeline.features.question import Question
from pipeline.heads.saved_head import load_head
from pipeline.heads.tempered import predict_averaged
from pipeline.images.dataset import Dataset, scan_dataset
from pipeline.images.decoding.read_images import make_limits
from pipeline.images.splits import TRAIN, UNLABELLED, VAL
from pipeline.runs.images_of_run import read_digests_of
from pipeline.runs.mistakes import Mistakes, find_mistakes
from pipeline.runs.predictions import Predictions
from pipeline.runs.promise.answers import AnswerCounts, count_answers
from pipeline.runs.promise.guard import load_guard
from pipeline.runs.run_folder import Run
from pipeline.runs.scores import Metrics, score_predictions
from pipeline.system.paths import as_path
from pipeline.system.printable import name_some


@dataclass(frozen=True)
class Overlap:
    """How many of the images that were evaluated trained the run, and how it does on the others.

    `others` is None where there are no others. `n_chose` of the images chose something of the run,
    as validation: its strength of regularisation, or its epoch.
    """

    n_images: int
    n_trained_on: int
    others: Metrics | None
    n_chose: int

    def describe(self) -> list[str]:
        """What people must know of it: scores on images that trained a run flatter it."""
        chose = []
        if self.n_chose:
            chose = [
                f"{self.n_chose:,} of these {self.n_images:,} images chose something of this run, "
                "as its validation images, so their scores flatter a little."
            ]
        if self.n_trained_on == 0:
            return chose
        if self.others is None:
            return [
                f"All {self.n_images:,} of these images trained this run, so the scores say "
                "nothing of how it does on new ones."
            ]
        return [
            f"{self.n_trained_on:,} of these {self.n_images:,} images trained this run; without "
            f"them: accuracy {self.others.accuracy:.4f} ({self.others.n_samples:,} images).",
            *chose,
        ]


@dataclass(frozen=True)
class Evaluation:
    """How well a run does on a labelled folder.

    `overlap` is None for a run from before there were digests of its images. `answers` tells what a
    promise comes to on images that did not train the run (on all, where there are no others); it is
    None for a run that makes none. Paths of
    `mistakes` are relative to the data set.
    """

    metrics: Metrics
    class_names: list[str]
    skipped: list[Prediction]
    overlap: Overlap | None
    mistakes: Mistakes
    answers: AnswerCounts | None = None

    @property
    def notes(self) -> list[str]:
        return [] if self.overlap is None else self.overlap.describe()

    def to_dict(self) -> dict[str, Any]:
        """The scores, ready for JSON; what is not known is None."""
        others = self.overlap and self.overlap.others
        return {
            **self.metrics.to_dict(),
            "n_trained_on": self.overlap and self.overlap.n_trained_on,
            "without_trained_on": others and others.to_dict(),
            "mistakes": self.mistakes.to_dict(),
            **({} if self.answers is None else {"answers": self.answers.to_dict()}),
        }


def ask_as_run(run: Run, dataset: Dataset) -> tuple[Dataset, np.ndarray]:
    """The images that a run's question is about, and their labels as indices into its class names.

    Classes that were merged for the run have its name; those that it left out are passed over, and
    the data set's notes say so.

    Raises:
        DatasetError: no labels, a class that the run does not know, or none that it asks for.
    """
    _require_labels(dataset)
    question = run.manifest.question or Question()
    names = [question.rename(name) for name in dataset.class_names]
    left_out = set(question.left_out)
    unknown = sorted({name for name in names if name not in {*run.class_names, *left_out}})
    if unknown:
        other = (
            ""
            if question.labels_file is None
            else f"\nThe run's labels came from {question.labels_file}: give a list like it, with "
            "the columns path and label."
        )
        raise DatasetError(
            f"The run does not know the classes {name_some(unknown)}. Expected folders named "
            f"like its classes: {name_some(run.class_names)}. Received: {dataset.source}{other}"
        )
    number_of = {name: number for number, name in enumerate(run.class_names)}
    numbers = np.array([number_of.get(name, UNLABELLED) for name in names], np.int32)
    labels: np.ndarray = numbers[dataset.labels]
    rows = np.flatnonzero(labels != UNLABELLED)
    if not len(rows):
        raise DatasetError(
            f"All images are of classes that this run leaves out. Expected some of "
            f"{name_some(run.class_names)}. Received: {dataset.source}"
        )
    if len(rows) < len(labels):
        note = (
            f"{len(labels) - len(rows):,} images are passed over: the run leaves their classes "
            f"out ({name_some(sorted(left_out & set(names)))})."
        )
        dataset = dataset.of_rows(rows, note)
    return dataset, labels[rows]


def _require_labels(dataset: Dataset) -> None:
    n_unlabelled = int(np.sum(dataset.labels == UNLABELLED))
    if n_unlabelled:
        which = "These" if n_unlabelled == len(dataset) else f"{n_unlabelled:,} of {len(dataset):,}"
        raise DatasetError(
            f"{which} images have no labels. Expected a folder per class, a column of labels, or "
            f"a pattern that finds the class in each path. Received: {dataset.source}\n"
            "`label_from=REGEX` takes the class from the path; `frostline.predict()` classifies "
            "images without labels."
        )


def evaluate(
    run: Run | Classifier | str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    split: str | None = None,
    class_depth: int = 1,
    label_from: str | None = None,
    max_pixels: int | None = None,
    max_bytes: int | None = None,
    weights: str | os.PathLike[str] | None = None,
    device: str = "auto",
    engine: str | None = None,
    network_store: bool = True,
    use_cache: bool = True,
    is_alone: bool = False,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Evaluation:
    """Scores a run on a labelled data set.

    Args:
        run: a run, its folder, or its model as `load_run` gives it.
        data: a folder with a folder per class, or a CSV with the columns path and label.
        split: only this split of the data: `train`, `val` or `test`.
        class_depth: how many folders down the classes are.
        label_from: a regular expression that finds the class in an image's path, None where
            folders or a column tell it.
        max_pixels, max_bytes: what an image may be at most, None for the defaults.
        weights: where the backbone's weights lie now, None for where they came from.
        device: `auto`, `cpu`, `gpu` or `gpu:N`.
        engine: what runs the network, None for the one that made the run's features, where these
            were made on a device of the kind, and else what suits the device.
        network_store: see `load_run`.
        use_cache: take the rows of images that the run's feature file, or one beside it, already
            has; not where `weights`, `engine` or limits are given.
        is_alone: see `load_run`.
        on_progress: called with a stage, the number done and the number to do.
        on_note: called with what people should know.

    Raises:
        DatasetError: no labels, a class that the run does not know, or no usable image.
        RunError, ParityError, WeightsError, DeviceError, EngineError: there is no model to use.
    """
    require_device(device, engine)
    opened, model = open_either(run)
    if model is not None:
        require_defaults(weights, device, engine)
    dataset = scan_dataset(as_path(data, "data"), class_depth, label_from, on_progress)
    dataset = dataset.of_split(split)
    dataset, labels = ask_as_run(opened, dataset)  # before a model is loaded
    for note in dataset.notes:
        on_note(note)
    predictions: list[Prediction | None] = [None] * len(dataset)
    asked_for = (weights, max_pixels, max_bytes, engine)
    if use_cache and all(option is None for option in asked_for):
        for row, prediction in _predict_from_cache(opened, dataset, on_note).items():
            predictions[row] = prediction
    missing = [row for row, prediction in enumerate(predictions) if prediction is None]
    if missing:
        found = predict_or_refuse(
            opened,
            model,
            LoadOptions(weights, device, engine, network_store, is_alone),
            [dataset.root / dataset.paths[row] for row in missing],
            make_limits(max_pixels, max_bytes),
            on_progress,
            on_note,
        )
        for row, prediction in zip(missing, found, strict=True):
            predictions[row] = prediction
    return _score(opened, dataset, labels, [p for p in predictions if p is not None])


def _predict_from_cache(
    run: Run, dataset: Dataset, on_note: Callable[[str], None]
) -> dict[int, Prediction]:
    """What the run's head says of the rows that feature files have already, by row of the data set.

    A fine-tuned network is another one than its recipe's, so nothing is cached of it.
    """
    found = []
    for used in run.manifest.backbones:
        if used.features is None:
            return {}
        first = Path(used.features.features_file)
        siblings = sorted(first.parent.glob("*.h5")) if first.parent.is_dir() else []
        files = [first, *(path for path in siblings if path != first)]
        found.append(read_cached_rows(dataset, used.recipe, files, run.manifest.tta))
    cached = found[0] if len(found) == 1 else join_cached_rows(found)
    if not len(cached.rows):
        return {}
    head = load_head(run)
    check_head(run, head.predict_proba)
    if cached.views is None:
        probabilities = head.predict_proba(cached.features)
    else:
        probabilities = predict_averaged(head, cached.features, cached.views)
    on_note(
        f"The features of {len(cached.rows):,} of {len(dataset):,} images are in "
        f"{', '.join(map(str, cached.files))} already."
    )
    described = describe_rows(run, load_guard(run), cached.features, probabilities)
    return {
        row: replace(prediction, path=dataset.root / dataset.paths[row], digest=digest)
        for row, prediction, digest in zip(
            cached.rows.tolist(), described, cached.digests, strict=True
        )
    }


def _score(
    run: Run, dataset: Dataset, labels: np.ndarray, predictions: list[Prediction]
) -> Evaluation:
    trained = read_digests_of(run, TRAIN)
    skipped = [prediction for prediction in predictions if prediction.reason is not None]
    if len(skipped) == len(predictions):
        raise DatasetError(
            f"Not one of the {len(predictions):,} images could be used. Received: "
            f"{dataset.source}\nThe first: {predictions[0].path}: {predictions[0].reason}"
        )
    is_usable = np.array([prediction.reason is None for prediction in predictions])
    labels = labels[is_usable]
    probabilities = np.stack([p.probabilities for p in predictions if p.probabilities is not None])
    paths = [path for path, usable in zip(dataset.paths, is_usable, strict=True) if usable]
    said = Predictions(paths, dataset.splits[is_usable], labels, probabilities)
    overlap, is_new = None, np.ones(len(labels), bool)
    if trained is not None:
        digests = [p.digest.tobytes() for p in predictions if p.reason is None]
        is_new = np.array([digest not in trained for digest in digests])
        chose = read_digests_of(run, VAL) if run.manifest.chosen_by == "val" else None
        n_chose = sum(digest in (chose or ()) for digest in digests)
        overlap = _find_overlap(is_new, labels, probabilities, run.class_names, n_chose)
    answers, promise = None, run.manifest.promise
    if promise is not None:
        no_answers = np.array([p.no_answer for p in predictions if p.reason is None], object)
        rows = is_new if is_new.any() else np.ones(len(labels), bool)
        answers = count_answers(labels[rows], probabilities[rows], no_answers[rows], promise.share)
    return Evaluation(
        metrics=score_predictions(labels, probabilities, run.class_names),
        class_names=run.class_names,
        skipped=skipped,
        overlap=overlap,
        mistakes=find_mistakes(said, run.class_names),
        answers=answers,
    )


def _find_overlap(
    is_new: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    class_names: list[str],
    n_chose: int,
) -> Overlap:
    n_new = int(is_new.sum())
    others = None
    if n_new:
        others = score_predictions(labels[is_new], probabilities[is_new], class_names)
    return Overlap(len(is_new), len(is_new) - n_new, others, n_chose)
