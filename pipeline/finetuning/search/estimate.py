"""What a whole search will take: the trunk cache, the trainings, and what comes after them."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.finetuning.search.costs import StepCosts
from pipeline.finetuning.search.rounds import Round
from pipeline.finetuning.search.settings import Space
from pipeline.runs.searched_settings import Setting

# Fitting the head of a division; starting the child that fills a trunk cache; and, at the end,
# converting the network for the CPU's engine, saving it and reading it back.
HEAD_SECONDS = 3.0
FILL_SECONDS = 8.0
END_SECONDS = 20.0
AUGMENT_SECONDS = 0.004  # of an image
MARGIN = 1.08  # of all: a machine has other things to do


@dataclass(frozen=True)
class Estimate:
    """Seconds of rounds.

    Args:
        costs: of steps.
        space: the settings.
        n_rows: of the trunk cache of one augmentation, 0 where there is none.
        n_train: training images.
        n_judging: validation images.
        n_images: all of the run.
    """

    costs: StepCosts
    space: Space
    n_rows: int
    n_train: int
    n_judging: int
    n_images: int

    def seconds(self, rounds: Sequence[Round]) -> float:
        """Of all that is ahead, from the first row of the trunk cache to the run on the disk."""
        tried = self.space.settings[: rounds[0].n_settings]
        total = self._filling() + self.after()
        for one in rounds:
            costs = sorted(self.training(setting, one.epochs) for setting in tried)
            of_one = sum(costs[-one.n_settings :])
            total += one.repeats * of_one + HEAD_SECONDS * (one.division > 0)
        return total * MARGIN

    def least(self) -> float:
        """Of one epoch with all around it."""
        return self.seconds([Round(1, 1, 0)])

    def training(self, setting: Setting, epochs: int) -> float:
        """Of one training."""
        line = self.space.line_of(setting)
        return self.costs.training(line, epochs, self.n_train, self.n_judging)

    def epoch(self, setting: Setting) -> float:
        """Of one epoch."""
        return self.training(setting, 1) - self.costs.start

    def after(self) -> float:
        """Of what follows the last training."""
        return END_SECONDS + self.costs.whole_prediction(self.n_images)

    def _filling(self) -> float:
        """Of the trunk cache."""
        if not self.n_rows:
            return 0.0
        below = self.costs.work_below / (1 - self.costs.work_below)
        row = self.costs.prediction(1) * below + AUGMENT_SECONDS
        return FILL_SECONDS + self.n_rows * row
