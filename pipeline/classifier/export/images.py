"""The images that an export is proven, calibrated and shown with: those of the run itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.classifier.sources import make_source
from pipeline.errors import ExportError
from pipeline.images.decoding.read_images import DEFAULT_LIMITS
from pipeline.images.splits import SPLITS, TEST, TRAIN, VAL
from pipeline.recipe import Recipe
from pipeline.runs.images_of_run import hash_images, locate_images, require_same_images_at
from pipeline.runs.predictions import Predictions
from pipeline.runs.run_folder import Run
from pipeline.system.parallel import map_batches
from pipeline.system.progress import OnProgress

HELD_BACK = (VAL, TEST, TRAIN)  # where images to prove with are looked for, in this order
SCORING = (TEST, VAL, TRAIN)  # likewise, where accuracy counts: the split that chose nothing first
TRAINING = (TRAIN,)
_N_THREADS = 2


@dataclass(frozen=True)
class ImagesOfExport:
    """Images of one kind, `n` of them.

    Args:
        paths: of their files.
        labels: int `(n,)`, indices of classes, -1 = none.
        pixels: uint8 `(n, height, width, 3)`, as the network sees them.
        split: name of the split that they are of.
    """

    paths: list[Path]
    labels: np.ndarray
    pixels: np.ndarray
    split: str

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, places: np.ndarray) -> "ImagesOfExport":
        """Those at some places among them."""
        paths = [self.paths[place] for place in places.tolist()]
        return ImagesOfExport(paths, self.labels[places], self.pixels[places], self.split)


def choose_rows(
    predictions: Predictions, splits: Sequence[int], n_most: int, *, needs_label: bool = False
) -> np.ndarray:
    """Rows of the first of the splits that has images, of each class in turn, the same every time.

    Args:
        splits: in this order.
        n_most: so many at most.
        needs_label: leave those without a label out.
    """
    is_meant = (predictions.labels >= 0) | (not needs_label)
    for split in splits:
        rows = np.flatnonzero((predictions.splits == split) & is_meant)
        if len(rows):
            break
    else:
        rows = np.flatnonzero(is_meant)
    shuffled = np.random.default_rng(0).permutation(rows)
    labels = predictions.labels[shuffled]
    turn = np.zeros(len(shuffled), np.int64)  # how many of its class come before an image
    for label in np.unique(labels):
        turn[labels == label] = np.arange((labels == label).sum())
    return np.sort(shuffled[np.argsort(turn, kind="stable")[:n_most]])


def read_rows(
    run: Run,
    root: Path,
    predictions: Predictions,
    rows: np.ndarray,
    recipe: Recipe,
    on_progress: OnProgress,
) -> ImagesOfExport:
    """Decodes images of the run, which have to be those that it was made from.

    Raises:
        DatasetError: some are not there.
        ParityError: some were changed.
        ExportError: one cannot be decoded any more.
    """
    paths = locate_images(root, [predictions.paths[row] for row in rows.tolist()])
    require_same_images_at(run, rows, paths, hash_images(paths), len(predictions.paths))
    size = recipe.image_size
    decoded = np.empty((len(paths), size, size, 3), np.uint8)
    for place, (_, pixels) in enumerate(map_batches(partial(_read, recipe), paths, _N_THREADS)):
        if isinstance(pixels, str):
            raise ExportError(
                f"This image {pixels}. Expected what it was. Received: {paths[place]}"
            )
        decoded[place] = pixels
        on_progress("Reading", place + 1, len(paths))
    split = int(predictions.splits[rows[0]])
    name = SPLITS[split] if split >= 0 else "all"
    return ImagesOfExport(paths, predictions.labels[rows], decoded, name)


def _read(recipe: Recipe, path: Path) -> tuple[np.ndarray, np.ndarray | str]:
    return make_source(path, 0).read(recipe, DEFAULT_LIMITS)
