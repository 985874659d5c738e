"""The mean of several trainings' weights: the weights of one join it if it is better with them.

Where what is learnt lies far from what the network was trained on, two trainings may end in
different valleys of the loss, and their mean on the hill between: digits, which one training had
99.4% right, came to 98.0% with the mean of four (docs/fine-tuning.md). So validation is asked.

Source: Wortsman et al., "Model soups", ICML 2022 (the greedy soup).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.finetuning.judge_epochs import Scores, score

Weights = list[np.ndarray]


@dataclass(frozen=True)
class Blend:
    """The mean of the weights of trainings.

    Args:
        n_trainings: that it is of.
        history: of the last of them, epoch by epoch.
        said: what it says of the validation images, (n_images, n_classes).
    """

    weights: Weights
    n_trainings: int
    history: list[dict]
    said: np.ndarray

    def average_with(self, last: "Blend") -> Weights:
        """The weights of the mean with one training more."""
        n = self.n_trainings
        return [(n * a + b) / (n + 1) for a, b in zip(self.weights, last.weights, strict=True)]


@dataclass(frozen=True)
class Joined:
    """What became of the weights of one more training.

    Args:
        blend: the best on validation of the mean so far, that with these weights, and these alone.
        scores: its.
        others: of the other two, for people.
    """

    blend: Blend
    scores: Scores
    others: str = ""

    def describe(self) -> str:
        """What was found, for people, without a full stop."""
        n_trainings = self.blend.n_trainings
        whose = "weights of one training"
        if n_trainings > 1:
            whose = f"mean of the weights of {n_trainings} trainings"
        return (
            f"The {whose}: accuracy {self.scores.accuracy:.4f}, "
            f"log-loss {self.scores.calibrated_loss:.4f} on validation{self.others}"
        )


def join(
    before: Blend, last: Blend, labels: np.ndarray, judge: Callable[[Weights], Scores]
) -> Joined:
    """Adds a training's weights to the mean, or puts them in its place, if that lowers the loss.

    Args:
        before: the mean so far.
        last: one more training.
        labels: int (n_images,), of the validation images.
        judge: scores weights on them.
    """
    mean = before.average_with(last)
    both = judge(mean)
    choices = {
        "without those of the last": before,
        "with those of the last": Blend(
            mean, before.n_trainings + 1, last.history, both.probabilities
        ),
        "the last alone": last,
    }
    scores = {name: score(labels, blend.said) for name, blend in choices.items()}
    best = min(choices, key=lambda name: scores[name].calibrated_loss)
    others = [f"{scores[name].calibrated_loss:.4f} {name}" for name in choices if name != best]
    return Joined(choices[best], scores[best], f" ({', '.join(others)})")
