"""What a run's manifest says of its cross-validation."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FoldScores:
    """How well heads did that were fitted on all folds but one.

    Args:
        n_folds: into how many parts the images were divided.
        n_repeats: how often, each time anew.
        accuracies: 0..1, of each repeat that of each fold.
        spread: standard deviation of these accuracies. Heads of two folds share most of their
            training images, so it is no standard error of their mean.
    """

    n_folds: int
    n_repeats: int
    accuracies: list[list[float]]
    spread: float
