"""Scores the model of a run on a labelled data set."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.backbones.engines.opening import require_device
from pipeline.classifier.evaluation.evaluation import Evaluation, Overlap
from pipeline.classifier.evaluation.labelled_images import ask_as_run
from pipeline.classifier.evaluation.write import FILES, write_evaluation
from pipeline.classifier.load import open_either, require_defaults
from pipeline.classifier.model import Classifier
from pipeline.classifier.parity import check_head
from pipeline.classifier.predict import LoadOptions, predict_or_refuse
from pipeline.classifier.prediction import Prediction, describe_rows
from pipeline.errors import DatasetError, ParameterError
from pipeline.features.cached_rows import join_cached_rows, read_cached_rows
from pipeline.heads.saved_head import load_head
from pipeline.heads.tempered import predict_averaged
from pipeline.images.dataset import Dataset, scan_dataset
from pipeline.images.decoding.read_images import make_limits
from pipeline.images.splits import TRAIN, VAL
from pipeline.runs.images_of_run import read_digests_of
from pipeline.runs.mistakes import find_mistakes
from pipeline.runs.outcome_folder import claim_outcome
from pipeline.runs.predictions import Predictions
from pipeline.runs.promise.answers import count_answers
from pipeline.runs.promise.guard import load_guard
from pipeline.runs.run_folder import Run
from pipeline.runs.scores import score_predictions
from pipeline.system.paths import as_path
from pipeline.system.progress import OnProgress


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
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    is_alone: bool = False,
    on_progress: OnProgress = lambda stage, done, total: None,
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
        output: a folder for what was found: `evaluation.json`, `predictions.csv` and `.npz`, the
            confusion matrix in `plots/`, and `report.html`, as `frostline.report` makes it; None
            to write nothing.
        force: an older evaluation of that name may be replaced.
        is_alone: see `load_run`.
        on_progress: called with a stage, the number done and the number to do.
        on_note: called with what people should know.

    Raises:
        DatasetError: no labels, a class that the run does not know, or no usable image.
        ParameterError: the output lies among the images.
        RunError: the output exists.
        RunError, ParityError, WeightsError, DeviceError, EngineError: there is no model to use.
    """
    require_device(device, engine)
    opened, model = open_either(run)
    if model is not None:
        require_defaults(weights, device, engine)
    source, target = as_path(data, "data"), None if output is None else as_path(output, "output")
    _require_beside(target, source)
    with claim_outcome(target, FILES, force=force):
        dataset = scan_dataset(source, class_depth, label_from, on_progress)
        dataset = dataset.of_split(split)
        dataset, labels = ask_as_run(opened, dataset)  # before a model is loaded
        for note in dataset.notes:
            on_note(note)
        asked_for = (weights, max_pixels, max_bytes, engine)
        may_use_cache = use_cache and all(option is None for option in asked_for)
        found = _predict_from_cache(opened, dataset, on_note) if may_use_cache else {}
        missing = [row for row in range(len(dataset)) if row not in found]
        if missing:
            predictions = predict_or_refuse(
                opened,
                model,
                LoadOptions(weights, device, engine, network_store, is_alone),
                [dataset.root / dataset.paths[row] for row in missing],
                make_limits(max_pixels, max_bytes),
                on_progress,
                on_note,
            )
            found |= dict(zip(missing, predictions, strict=True))
        evaluation = _score(opened, dataset, labels, [found[row] for row in range(len(dataset))])
        if target is None:
            return evaluation
        return write_evaluation(
            target, evaluation, opened, dataset, force=force, on_progress=on_progress
        )


def _require_beside(output: Path | None, source: Path) -> None:
    """The pictures that are written would be images of the data set the next time.

    Raises:
        ParameterError: the output lies in the data set.
    """
    if output is not None and output.resolve().is_relative_to(source.resolve()):
        raise ParameterError(
            "This output lies in the data set, where its pictures would be taken for images. "
            f"Expected a folder beside it. Received: `output={output}` in {source}",
            "output",
        )


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
        predictions=said,
        digests=np.stack([p.digest for p in predictions if p.reason is None]),
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
