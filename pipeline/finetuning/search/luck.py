"""How much of what a search found is the luck of choosing among many."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.finetuning.search.trials import Trial
from pipeline.runs.selection_bias import measure_selection_bias


@dataclass(frozen=True)
class Luck:
    """The best of a round, on the images that chose it and on others.

    Args:
        n_settings: that were compared, the frozen head one of them.
        n_images: that chose.
        gain: in accuracy over the frozen head, 0..1, on the images that chose.
        likely_gain: to expect on images that did not choose.
    """

    n_settings: int
    n_images: int
    gain: float
    likely_gain: float

    def describe(self) -> str:
        """One sentence; none where there is no gain to be lucky in."""
        if self.gain <= 0:
            return ""
        return (
            f"Of the {100 * self.gain:+.1f} points of the first round's best on its "
            f"{self.n_images:,} images about {100 * (self.gain - self.likely_gain):.1f} are the "
            f"luck of choosing among {self.n_settings} (the choice was repeated on resamples of "
            "them, and scored on those left out)."
        )


def measure_luck(trials: Sequence[Trial], units: np.ndarray) -> Luck | None:
    """The luck of the first round; None where it chose nothing, or has too few images.

    Args:
        units: int `(n_images of the run,)`, equal for images that belong together.
    """
    first = [trial for trial in trials if trial.round == trial.repeat == 1]
    if len(first) < 2:
        return None
    every = [first[0].frozen, *(trial.tuned for trial in first)]
    bias = measure_selection_bias(
        np.stack([one.losses for one in every]),
        np.stack([one.is_right for one in every]),
        units[first[0].images],
    )
    if bias is None:
        return None
    frozen = first[0].frozen_accuracy
    return Luck(
        n_settings=len(every),
        n_images=len(first[0].images),
        gain=bias.accuracy - frozen,
        likely_gain=bias.likely_accuracy - frozen,
    )
