"""What a model says of an image."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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

    def list_best(self, class_names: Sequence[str], top: int) -> list[tuple[str, float]]:
        """The `top` most probable classes with their probabilities; none of an image without."""
        if self.probabilities is None:
            return []
        order = np.argsort(-self.probabilities, kind="stable")[:top]
        return [(class_names[i], float(self.probabilities[i])) for i in order]


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


def prediction_to_json(
    prediction: Prediction, class_names: Sequence[str], top: int, *, promises: bool
) -> dict[str, Any]:
    """A prediction as scripts get it, whoever gives it to them.

    Args:
        class_names: in the order of the probabilities.
        top: so many classes, the most probable first.
        promises: of a run that makes a promise there are `answer` and `no_answer`, too.
    """
    path = None if prediction.path is None else str(prediction.path)
    if prediction.reason is not None:
        return {"path": path, "skipped": prediction.reason}
    answer = {"answer": prediction.answer, "no_answer": prediction.no_answer} if promises else {}
    best = prediction.list_best(class_names, top)
    return {"path": path, **answer, "classes": [{"name": n, "probability": p} for n, p in best]}
