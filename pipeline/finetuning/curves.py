"""What the curves of a fine-tuning and both models' predictions show: numbers, each with its noise.

Accuracies are shares of images, so chance moves them as the binomial says, at most: two epochs are
judged on the same images, which makes them more alike, not less.
"""

import math
from dataclasses import dataclass

import numpy as np

from pipeline.finetuning.checkpoint import State
from pipeline.images.splits import TRAIN, VAL
from pipeline.runs.predictions import Predictions
from pipeline.runs.scores import LEAST_PROBABILITY


@dataclass(frozen=True)
class Curves:
    """A fine-tuning that has ended.

    Args:
        history: a record per epoch, as in `history.csv`; the first is of the frozen head.
        best_epoch: the one that is kept; 0 is the frozen head.
        n_train, n_val: images.
        train_accuracy: of the model that is kept, on training images as they are, 0..1.
        val_loss_error: standard error of its validation loss, in nats.
        learning_rate: the highest, after the warm-up.
        n_divergences: how often training was set back.
    """

    history: list[dict[str, float]]
    best_epoch: int
    n_train: int
    n_val: int
    train_accuracy: float
    val_loss_error: float
    learning_rate: float
    n_divergences: int = 0

    @property
    def frozen(self) -> dict[str, float]:
        return self.history[0]

    @property
    def epochs(self) -> list[dict[str, float]]:
        """Those that were trained, in order."""
        return self.history[1:]

    @property
    def last(self) -> dict[str, float]:
        return self.history[-1]

    @property
    def best(self) -> dict[str, float]:
        return next(one for one in self.history if one["epoch"] == self.best_epoch)

    @property
    def learned_accuracy(self) -> float:
        """Of training images, as far as it came: of the model that is kept, as they are, or of the
        last epoch, augmented.
        """
        return max(self.train_accuracy, self.last["train_accuracy"])

    @property
    def last_third(self) -> list[dict[str, float]]:
        """The last third of the epochs that were trained, and the one before it."""
        return self.history[-1 - max(1, round(len(self.epochs) / 3)) :]

    def gap(self) -> tuple[float, float]:
        """By how much training images go better than validation's, and its standard error, 0..1."""
        val = (self.best if self.best_epoch else self.last)["val_accuracy"]
        errors = (
            binomial_error(self.learned_accuracy, self.n_train),
            binomial_error(val, self.n_val),
        )
        return self.learned_accuracy - val, math.hypot(*errors)

    def jitter(self) -> float:
        """By how much validation accuracy jumps from epoch to epoch: a standard deviation, 0..1.

        Of noise that is independent between epochs, two successive differences have the covariance
        of minus its variance; those of a trend have the same sign and never count as noise.
        """
        steps = np.diff([epoch["val_accuracy"] for epoch in self.epochs])
        if len(steps) < 2:
            return 0.0
        return math.sqrt(max(0.0, -float(np.mean(steps[1:] * steps[:-1]))))

    def chance(self) -> float:
        """By how much it would jump if the images were drawn anew for each epoch: what chance can
        do at most, 0..1.
        """
        mean = float(np.mean([epoch["val_accuracy"] for epoch in self.epochs]))
        return binomial_error(mean, self.n_val)


def binomial_error(share: float, n: int) -> float:
    """Standard error of a share of `n` images; never 0, half an image being wrong at least."""
    inside = min(max(share, 0.5 / n), 1 - 0.5 / n)
    return math.sqrt(inside * (1 - inside) / n)


def read_curves(
    before: Predictions, after: Predictions, state: State, learning_rate: float
) -> Curves:
    """The curves of a training at its end.

    Args:
        before, after: what the frozen head and the model that is kept say of the same images.
        learning_rate: that was asked for; a sweep may have found another.
    """
    train, val = (after.splits == split for split in (TRAIN, VAL))
    is_right = after.probabilities.argmax(axis=1) == after.labels
    of_label = after.probabilities[val, after.labels[val]]
    losses = -np.log(np.maximum(of_label, LEAST_PROBABILITY))
    return Curves(
        history=state.history,
        best_epoch=state.best_epoch,
        n_train=int(train.sum()),
        n_val=int(val.sum()),
        train_accuracy=float(is_right[train].mean()),
        val_loss_error=float(losses.std() / math.sqrt(len(losses))),
        learning_rate=state.learning_rate or learning_rate,
        n_divergences=state.n_divergences,
    )
