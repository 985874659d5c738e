"""How much a run with a promise answers, and how right it is."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.runs.promise.guard import UNLIKE, UNSURE
from pipeline.runs.scores import wilson_interval


@dataclass(frozen=True)
class AnswerCounts:
    """What became of labelled images.

    Args:
        n_images: all.
        n_answered: of these.
        n_right: of these answers.
        n_unsure: images that were not answered since the head was not sure enough.
        n_unlike: likewise, since they are unlike anything seen.
        promised: share of right answers that the run promises.
    """

    n_images: int
    n_answered: int
    n_right: int
    n_unsure: int
    n_unlike: int
    promised: float

    @property
    def share_right(self) -> float | None:
        """Of the answers; None without answers."""
        return self.n_right / self.n_answered if self.n_answered else None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            **asdict(self),
            "share_answered": self.n_answered / self.n_images,
            "share_right": self.share_right,
            "share_right_interval": list(wilson_interval(self.n_right, self.n_answered)),
        }

    def describe(self) -> str:
        """In words."""
        low, high = wilson_interval(self.n_right, self.n_answered)
        right = (
            "no answer, none right"
            if self.share_right is None
            else f"{self.n_right:,} of these answers are right\n({self.share_right:.4f}, 95% "
            f"{low:.3f}-{high:.3f}; promised: {self.promised:.4g})"
        )
        return (
            f"Answered: {self.n_answered:,} of {self.n_images:,} images "
            f"({self.n_answered / self.n_images:.1%}); {right}.\n"
            f"Unsure: {self.n_unsure:,}. Unlike anything seen: {self.n_unlike:,}."
        )


def count_answers(
    labels: np.ndarray,
    probabilities: np.ndarray,
    no_answers: Sequence[str | None] | np.ndarray,
    promised: float,
) -> AnswerCounts:
    """Counts what became of images.

    Args:
        labels: int (n_samples,).
        probabilities: (n_samples, n_classes).
        no_answers: as `Guard.judge` gives them.
        promised: share of right answers.
    """
    is_right = probabilities.argmax(axis=1) == labels
    is_answered = np.array([reason is None for reason in no_answers], bool)
    return AnswerCounts(
        n_images=len(labels),
        n_answered=int(is_answered.sum()),
        n_right=int((is_answered & is_right).sum()),
        n_unsure=sum(reason == UNSURE for reason in no_answers),
        n_unlike=sum(reason == UNLIKE for reason in no_answers),
        promised=promised,
    )
