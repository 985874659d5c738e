"""What fine-tuning starts from: a run with its head, what that says of each image, the images."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import RunError
from pipeline.images.splits import TRAIN, VAL
from pipeline.runs.images_of_run import hash_images, locate_images, require_same_images
from pipeline.runs.predictions import Predictions, read_predictions
from pipeline.runs.records import read_history
from pipeline.runs.run_folder import Run


@dataclass(frozen=True)
class Parent:
    """A run that is to be fine-tuned.

    Args:
        run: with its head.
        weights: where the backbone's weights lie now, None for where they came from.
        history: of the head.
        before: the frozen head's predictions, the labels and splits.
        root: of the images.
        paths: of the images.
        digests: of the images as they are now, uint8 (n_images, 32).
    """

    run: Run
    weights: str | None
    history: list[dict]
    before: Predictions
    root: Path
    paths: list[Path]
    digests: np.ndarray

    @property
    def train_labels(self) -> np.ndarray:
        return self.before.labels[self.before.splits == TRAIN]


def open_parent(
    run: Run,
    weights: str | None,
    data_root: Path | None,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Parent:
    """Reads the run and looks at each image.

    Args:
        data_root: where the images lie now, None for where they lay at extraction.

    Raises:
        RunError: the run is damaged, its head was fitted on all images or takes the features of
            several backbones, or it averages over views.
        DatasetError: the images are not where they were.
        ParityError: they are others.
    """
    _require_one_backbone(run)
    _require_one_view(run)
    history, before = read_history(run), read_predictions(run)
    _require_val(run, before)
    root = data_root or Path(run.manifest.data_root)
    paths = locate_images(root, before.paths)
    digests = hash_images(paths, on_progress)
    require_same_images(run, paths, digests)
    return Parent(run, weights, history, before, root, paths, digests)


def _require_one_view(run: Run) -> None:
    """Raises a RunError where an image's answer is the mean of many, which no network gives."""
    if run.manifest.tta is not None:
        raise RunError(
            f"This run averages its answers over {run.manifest.tta}, and a fine-tuned network sees "
            "one, so the two could not be compared. Expected a run without `tta`. Received: "
            f"{run.folder}\nFit the head on the same features without `tta` and fine-tune that "
            "run: fine-tuning draws augmented images of its own."
        )


def _require_one_backbone(run: Run) -> None:
    """Raises a RunError where the head takes the features of several backbones."""
    backbones = run.manifest.backbones
    if len(backbones) > 1:
        files = [used.features.features_file for used in backbones if used.features is not None]
        raise RunError(
            "The head of this run takes the features of several backbones, side by side, and "
            "fine-tuning trains one. Expected a run of one feature file. Received: "
            f"{run.folder}, made from {', '.join(files)}\n"
            "Fit a head on the better one of these files alone, and fine-tune that run: "
            f"`frostline.fit_head({files[0]!r})`"
        )


def _require_val(run: Run, before: Predictions) -> None:
    """Raises a RunError where no image is left to judge epochs by."""
    if not np.any(before.splits == VAL):
        raise RunError(
            "The head of this run was fitted on all images after its folds, so none is left to "
            f"judge fine-tuning by. Expected a run with validation images. Received: {run.folder}\n"
            "Fit the head without `folds` and fine-tune that run."
        )
