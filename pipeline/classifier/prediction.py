"""What a model says of an image."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.runs.promise.guard import Guard
from pipeline.runs.run_folder import Run


@dataclass(frozen=True)
class Prediction:
    """What the model says of one image.

    Args:
        path: of its file; None for an image that came without one.
        probabilities: float32 (n_classes,); None where the image cannot be used.
        label: name of the most probable class, likewise.
        reason: why the image cannot be used; None where it can.
        digest: sha256 of its file, uint8 (32,), zeros where there is none or it cannot be read.
        no_answer: `unsure` or `unlike anything seen`, where the run's promise covers no answer;
            None where it does, and of a run that promises nothing.
    """

    path: Path | None
    probabilities: np.ndarray | None
    label: str | None
    reason: str | None
    digest: np.ndarray = field(repr=False)
    no_answer: str | None = None

    @property
    def answer(self) -> str | None:
        """The label, where there is one and the run's promise, if it makes one, covers it."""
        return self.label if self.no_answer is None else None


def describe_rows(
    run: Run, guard: Guard | None, features: np.ndarray, probabilities: np.ndarray
) -> list[Prediction]:
    """A prediction for each row of features, of images whose path and digest are still to be said.

    Args:
        guard: keeps the run's promise, None where it makes none.
        features: float32 (n, n_features).
        probabilities: float32 (n, n_classes).
    """
    unknown = np.zeros(32, np.uint8)
    no_answers = [None] * len(features) if guard is None else guard.judge(features, probabilities)
    return [
        Prediction(None, row, run.class_names[int(row.argmax())], None, unknown, no_answer)
        for row, no_answer in zip(probabilities, no_answers, strict=True)
    ]
