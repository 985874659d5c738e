"""Which images a run is wrong about: those to look at, since often the label is what is wrong."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.runs.predictions import Predictions

N_WORST = 10


@dataclass(frozen=True)
class Mistake:
    """An image that is taken for another class than its own.

    Args:
        path: as the run has it.
        label: its class.
        predicted: the class that it is taken for.
        probability: of that class.
    """

    path: str
    label: str
    predicted: str
    probability: float


@dataclass(frozen=True)
class Mistakes:
    """The images of a split that are taken for another class than their own.

    Args:
        of: the images in a word: `val`, `test`, `train`, or empty for all that were given.
        n_images: how many there are, with a label.
        n_wrong: how many of them are wrong.
        worst: the surest of the wrong ones, that first, at most N_WORST.
    """

    of: str
    n_images: int
    n_wrong: int
    worst: list[Mistake]

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "split": self.of or None,
            "n_images": self.n_images,
            "n_wrong": self.n_wrong,
            "worst": [vars(mistake) for mistake in self.worst],
        }


def find_mistakes(
    predictions: Predictions, class_names: list[str], split: int | None = None, of: str = ""
) -> Mistakes:
    """Looks for the images of a split that are wrong.

    Args:
        predictions: of all images.
        class_names: of the columns of probabilities.
        split: number of the split; None for all images.
        of: see `Mistakes`.
    """
    labels, probabilities = predictions.labels, predictions.probabilities
    is_meant = labels >= 0
    if split is not None:
        is_meant = is_meant & (predictions.splits == split)
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(is_meant & (predicted != labels))
    sureness = probabilities[wrong, predicted[wrong]]
    worst = wrong[np.argsort(-sureness, kind="stable")[:N_WORST]]
    return Mistakes(
        of=of,
        n_images=int(is_meant.sum()),
        n_wrong=len(wrong),
        worst=[
            Mistake(
                predictions.paths[row],
                class_names[labels[row]],
                class_names[predicted[row]],
                float(probabilities[row, predicted[row]]),
            )
            for row in worst.tolist()
        ],
    )
