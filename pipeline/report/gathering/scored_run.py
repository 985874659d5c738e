"""A run with what it says of each image, and which images its fairest scores are of."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from pipeline.images.splits import SPLITS
from pipeline.runs.manifest import Manifest
from pipeline.runs.out_of_fold import read_out_of_fold
from pipeline.runs.predictions import read_predictions
from pipeline.runs.records import read_digests
from pipeline.runs.run_folder import Run
from pipeline.runs.scores import FOLDS, Metrics


@dataclass(frozen=True)
class ScoredRun:
    """A run that was read, with all that it says of its images.

    Args:
        run: the run.
        paths: of its images, below the data set's root.
        splits: int8 `(n_images,)`, -1 = none.
        labels: int32 `(n_images,)`, -1 = none.
        probabilities: float32 `(n_images, n_classes)`. Of images that were in folds it is the mean
            of what heads said that were fitted without them.
        digests: uint8 `(n_images, 32)`; None for runs from before they were kept.
        rows: int64 `(n_scored,)`, of the images that its fairest scores are of.
    """

    run: Run
    paths: list[str]
    splits: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    digests: np.ndarray | None
    rows: np.ndarray

    @property
    def manifest(self) -> Manifest:
        return self.run.manifest

    @property
    def split(self) -> str:
        """What was scored: `test`, `folds`, `val` or `train`."""
        return self.manifest.scored_split

    @property
    def metrics(self) -> Metrics:
        """Of the images that were scored."""
        return self.manifest.metrics[self.split]

    @cached_property
    def called(self) -> np.ndarray:
        """The class that each image is taken for, int64 `(n_images,)`."""
        found: np.ndarray = self.probabilities.argmax(axis=1)
        return found

    @cached_property
    def sureness(self) -> np.ndarray:
        """The probability of that class, float32 `(n_images,)`."""
        found: np.ndarray = self.probabilities.max(axis=1)
        return found

    @cached_property
    def wrong(self) -> np.ndarray:
        """The scored images that are taken for another class than their own, the surest first."""
        wrong = self.rows[self.called[self.rows] != self.labels[self.rows]]
        order = np.argsort(-self.sureness[wrong], kind="stable")
        found: np.ndarray = wrong[order]
        return found


def read_scored_run(run: Run) -> ScoredRun:
    """Reads what a run says of its images.

    Raises:
        RunError: it is missing or damaged.
    """
    said = read_predictions(run)
    digests = read_digests(run, len(said.paths))
    split, probabilities = run.manifest.scored_split, said.probabilities
    if split == FOLDS:
        out_of_fold = read_out_of_fold(run)
        rows = out_of_fold.rows
        probabilities = probabilities.copy()
        probabilities[rows] = out_of_fold.probabilities.mean(axis=0)
    else:
        rows = np.flatnonzero((said.splits == SPLITS.index(split)) & (said.labels >= 0))
    return ScoredRun(run, said.paths, said.splits, said.labels, probabilities, digests, rows)
