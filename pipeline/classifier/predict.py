"""Uses the model of a run: classify images, and score a labelled folder."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.backbones.engines.device import Device
from pipeline.backbones.engines.registry import open_model
from pipeline.classifier.build import check_parity, load_classifier
from pipeline.errors import DatasetError, StorageError
from pipeline.features.embed import embed_files
from pipeline.images.dataset import Dataset
from pipeline.images.decoding.read_images import DEFAULT_LIMITS, Limits, read_images
from pipeline.images.splits import UNLABELLED
from pipeline.runs.images_of_run import read_training_digests
from pipeline.runs.run_folder import Run, describe_software
from pipeline.runs.scores import Metrics, score_predictions
from pipeline.system.atomic_files import write_json
from pipeline.system.parallel import map_batches


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image: probabilities (n_classes,), or why there are none.

    `digest` is the sha256 of its file, uint8 (32,), zeros where that cannot be read.
    """

    path: Path
    probabilities: np.ndarray | None
    reason: str | None
    digest: np.ndarray


@dataclass(frozen=True)
class Overlap:
    """How many of the images that were evaluated trained the run, and how it does on the others.

    `others` is None where there are no others.
    """

    n_images: int
    n_trained_on: int
    others: Metrics | None

    def describe(self) -> list[str]:
        """What people must know of it: scores on images that trained a run flatter it."""
        if self.n_trained_on == 0:
            return []
        if self.others is None:
            return [
                f"All {self.n_images:,} of these images trained this run, so the scores say "
                "nothing of how it does on new ones."
            ]
        return [
            f"{self.n_trained_on:,} of these {self.n_images:,} images trained this run; without "
            f"them: accuracy {self.others.accuracy:.4f} ({self.others.n_samples:,} images)."
        ]


@dataclass(frozen=True)
class Evaluation:
    """How well a run does on a labelled folder.

    `overlap` is None for a run from before there were digests of its images.
    """

    metrics: Metrics
    class_names: list[str]
    skipped: list[Prediction]
    overlap: Overlap | None

    @property
    def notes(self) -> list[str]:
        return [] if self.overlap is None else self.overlap.describe()

    def to_dict(self) -> dict:
        """The scores, ready for JSON; what is not known is None."""
        others = self.overlap and self.overlap.others
        return {
            **self.metrics.to_dict(),
            "n_trained_on": self.overlap and self.overlap.n_trained_on,
            "without_trained_on": others and others.to_dict(),
        }


def classify_images(
    run: Run,
    paths: list[Path],
    device: Device,
    *,
    weights: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Iterator[Prediction]:
    """Classifies images in the order given; one that cannot be read comes with its reason.

    Args:
        weights: where the backbone's weights lie now, None for where they came from.
        limits: what an image may be at most.

    Raises:
        RunError, WeightsError: the model cannot be rebuilt.
        ParityError: it is not the model that the run recorded (checked on first use).
    """
    model = load_classifier(run, weights)
    _check_parity_once(run, model, device)
    embed = open_model(model, device)
    read = partial(read_images, recipe=run.recipe, limits=limits)
    batches = [
        paths[start : start + embed.images_per_task]
        for start in range(0, len(paths), embed.images_per_task)
    ]
    done = 0
    for batch, (outcomes, probabilities) in map_batches(
        lambda batch: (batch, embed_files(batch, read, embed)),
        batches,
        embed.n_streams,
    ):
        rows = iter(probabilities)
        for path, (digest, reason) in zip(batch, outcomes, strict=True):
            yield Prediction(path, next(rows) if reason is None else None, reason, digest)
        done += len(batch)
        on_progress("Classifying", done, len(paths))


def evaluate_run(
    run: Run,
    dataset: Dataset,
    device: Device,
    *,
    weights: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Evaluation:
    """Scores a run on a labelled data set.

    Raises:
        DatasetError: no labels, a class that the run does not know, or no usable image.
        RunError: the run's own images cannot be read from it.
    """
    labels = _labels_of_run(run, dataset)
    trained = read_training_digests(run)
    paths = [dataset.root / path for path in dataset.paths]
    predictions = list(
        classify_images(run, paths, device, weights=weights, limits=limits, on_progress=on_progress)
    )
    usable = [row for row, prediction in enumerate(predictions) if prediction.reason is None]
    if not usable:
        raise DatasetError(
            f"Not one of the {len(paths):,} images could be used. Received: {dataset.root}\n"
            f"The first: {predictions[0].path}: {predictions[0].reason}"
        )
    labels = labels[usable]
    probabilities = np.stack([predictions[row].probabilities for row in usable])
    overlap = None
    if trained is not None:
        is_new = np.array([predictions[row].digest.tobytes() not in trained for row in usable])
        overlap = _find_overlap(is_new, labels, probabilities, run.class_names)
    return Evaluation(
        metrics=score_predictions(labels, probabilities, run.class_names),
        class_names=run.class_names,
        skipped=[prediction for prediction in predictions if prediction.reason is not None],
        overlap=overlap,
    )


def _find_overlap(
    is_new: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, class_names: list[str]
) -> Overlap:
    n_new = int(is_new.sum())
    others = None
    if n_new:
        others = score_predictions(labels[is_new], probabilities[is_new], class_names)
    return Overlap(len(is_new), len(is_new) - n_new, others)


def _labels_of_run(run: Run, dataset: Dataset) -> np.ndarray:
    """The data set's labels as indices into the run's class names, which may be more."""
    if np.any(dataset.labels == UNLABELLED):
        raise DatasetError(
            f"These images have no labels. Expected a folder per class. Received: {dataset.root}\n"
            "`cli.py predict` classifies images without labels."
        )
    unknown = sorted(set(dataset.class_names) - set(run.class_names))
    if unknown:
        raise DatasetError(
            f"The run does not know the classes {', '.join(unknown)}. Expected folders named "
            f"like its classes: {', '.join(run.class_names)}. Received: {dataset.root}"
        )
    index = np.array([run.class_names.index(name) for name in dataset.class_names], np.int32)
    return index[dataset.labels]


def _check_parity_once(run: Run, model, device: Device) -> None:
    """The parity check, once per run and versions of the software."""
    marker = run.folder / "parity.json"
    circumstances = {"software": describe_software(), "device": device.description}
    with suppress(OSError, ValueError):
        if json.loads(marker.read_text())["circumstances"] == circumstances:
            return
    difference = check_parity(run, model, is_gpu=device.is_gpu, data_root=None)
    with suppress(StorageError):  # a run that may not be written is checked every time
        write_json(marker, {"circumstances": circumstances, "greatest_difference": difference})
