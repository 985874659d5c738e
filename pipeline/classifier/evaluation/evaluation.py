"""What an evaluation found: the scores, and what people must know to read them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.classifier.prediction import Prediction
from pipeline.runs.mistakes import Mistakes
from pipeline.runs.predictions import Predictions
from pipeline.runs.promise.answers import AnswerCounts
from pipeline.runs.scores import Metrics


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
    None for a run that makes none. Paths of `mistakes` and of `predictions`, what the run says of
    each image that could be used, are relative to the data set; `digests`, uint8 (n_images, 32),
    are of the same images. `folder` has all of it in files, where that was asked for.
    """

    metrics: Metrics
    class_names: list[str]
    skipped: list[Prediction]
    overlap: Overlap | None
    mistakes: Mistakes
    predictions: Predictions = field(repr=False, compare=False)
    digests: np.ndarray = field(repr=False, compare=False)
    answers: AnswerCounts | None = None
    folder: Path | None = field(default=None, compare=False)

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
