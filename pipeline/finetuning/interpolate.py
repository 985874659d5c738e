"""Weights between the frozen head and the last epoch, for where the last does not beat the head.

Source: Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022 (WiSE-FT).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.finetuning.judge_epochs import Scores, beats

# Of the way from the frozen head to the last epoch, tried in this order.
PARTS = (0.75, 0.5, 0.25)
Weights = list[np.ndarray]


@dataclass(frozen=True)
class Between:
    """Weights that beat the frozen head.

    Args:
        part: of the way from there, 0..1.
    """

    part: float
    weights: Weights
    scores: Scores

    def describe(self, epoch: int) -> str:
        """What was done, for people.

        Args:
            epoch: the last.
        """
        return (
            f"Epoch {epoch}, the last, does not beat the frozen head on validation. Its weights "
            f"are taken {self.part:.0%} of the way from there, which do: accuracy "
            f"{self.scores.accuracy:.4f}, log-loss {self.scores.calibrated_loss:.4f}."
        )


def describe_winner(epoch: int, last: int, part: float, n_averaged: int = 1) -> str:
    """`epoch 7 of 8`, `50% of the way to epoch 8 of 8`, or `the mean of 3 trainings, each after
    epoch 8 of 8`.

    Args:
        part: of the way from the frozen head to the epoch.
        n_averaged: trainings whose mean it is.
    """
    words = f"epoch {epoch} of {last}"
    if n_averaged > 1:
        return f"the mean of {n_averaged} trainings, each after {words}"
    return words if part == 1 else f"{part:.0%} of the way to {words}"


def find_between(
    frozen: Weights, last: Weights, frozen_scores: Scores, judge: Callable[[Weights], Scores]
) -> Between | None:
    """The weights the furthest from the frozen head that beat it; None where none do.

    Args:
        judge: scores weights on validation.
    """
    for part in PARTS:
        weights = [(1 - part) * a + part * b for a, b in zip(frozen, last, strict=True)]
        scores = judge(weights)
        if beats(scores.accuracy, scores.calibrated_loss, frozen_scores):
            return Between(part, weights, scores)
    return None
