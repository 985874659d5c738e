"""What trainings of a search came to, and which setting goes on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.finetuning.judge_epochs import Scores
from pipeline.runs.calibration import apply_temperature
from pipeline.runs.scores import LEAST_PROBABILITY
from pipeline.runs.searched_settings import Setting
from pipeline.system.array_files import read_arrays
from pipeline.system.atomic_files import atomic_path
from pipeline.system.expected_tables import Table

AS_IT_IS = 1  # the number of the setting that changes nothing


@dataclass(frozen=True)
class Judged:
    """What one network says of the images that judge, calibrated as epochs are.

    Args:
        losses: float64 `(n_images,)`, in nats.
        is_right: bool `(n_images,)`.
    """

    losses: np.ndarray
    is_right: np.ndarray


@dataclass(frozen=True)
class Trial:
    """One training.

    Args:
        round: counted from 1.
        setting: its number, counted from 1 in the order of trying.
        repeat: which of its trainings in that round, counted from 1.
        values: of the setting.
        epochs: that were trained.
        n_images: that judged.
        accuracy, log_loss: of the last epoch on them, calibrated; of the second training and
            those after it, of the mean of the weights so far.
        frozen_accuracy, frozen_log_loss: of the head on the same images, calibrated.
        seconds: of the training.
        images: int64 `(n_images,)`, those that judged, by row.
        tuned, frozen: image by image.
    """

    round: int
    setting: int
    values: Setting
    epochs: int
    n_images: int
    accuracy: float
    log_loss: float
    frozen_accuracy: float
    frozen_log_loss: float
    seconds: float
    images: np.ndarray
    tuned: Judged
    frozen: Judged
    repeat: int = 1

    @property
    def gain(self) -> float:
        """By which the log-loss fell, in nats."""
        return self.frozen_log_loss - self.log_loss

    def facts(self) -> dict[str, Any]:
        """What is no array, in plain values."""
        return {name: v for name, v in vars(self).items() if name not in _ARRAYS}


_ARRAYS = ("images", "tuned", "frozen")
_TABLES = {
    "images": Table(np.int64, ("n_images",)),
    "tuned_losses": Table(np.float64, ("n_images",)),
    "tuned_is_right": Table(np.bool_, ("n_images",)),
    "frozen_losses": Table(np.float64, ("n_images",)),
    "frozen_is_right": Table(np.bool_, ("n_images",)),
}


def judge(labels: np.ndarray, scores: Scores) -> Judged:
    """Image by image what scores are the means of.

    Args:
        labels: int `(n_images,)`, of the images that were scored.
    """
    calibrated = apply_temperature(scores.probabilities, scores.temperature)
    of_label = np.maximum(calibrated[np.arange(len(labels)), labels], LEAST_PROBABILITY)
    return Judged(
        -np.log(of_label.astype(np.float64)), scores.probabilities.argmax(axis=1) == labels
    )


def rank_settings(trials: Sequence[Trial]) -> list[int]:
    """Numbers of the settings of the last round that ended, the best first.

    A setting is worth its mean gain over all images that ever judged it: each round has others, so
    the luck of one is not that of the next. Before the settings as they are come those that are
    surely better alone.

    Source: the rule of one standard error, Breiman et al., "Classification and Regression Trees",
    1984, for whom the simplest came first.
    """
    worth = find_worths(trials)
    ranked = sorted(worth, key=lambda setting: (-worth[setting], setting))
    if AS_IT_IS not in worth:
        return ranked
    others = [setting for setting in ranked if setting != AS_IT_IS]
    is_ahead = {setting: find_lead(trials, setting, AS_IT_IS).is_sure for setting in others}
    ahead = [setting for setting in others if is_ahead[setting]]
    return [*ahead, AS_IT_IS, *(setting for setting in others if not is_ahead[setting])]


def find_worths(trials: Sequence[Trial]) -> dict[int, float]:
    """What each setting of the last round that ended is worth, in nats."""
    last = max(trial.round for trial in trials)
    return {
        trial.setting: find_worth([one for one in trials if one.setting == trial.setting])
        for trial in trials
        if trial.round == last
    }


@dataclass(frozen=True)
class Lead:
    """By how much one setting is better than another, on the images that judged both.

    Args:
        gain: the mean difference of their log-losses, in nats.
        standard_error: of it.
    """

    gain: float
    standard_error: float

    @property
    def is_sure(self) -> bool:
        return self.gain > self.standard_error


def find_lead(trials: Sequence[Trial], setting: int, other: int) -> Lead:
    """The lead of a setting, image by image in each round that judged both."""
    ours, theirs = ({t.round: t for t in trials if t.setting == one} for one in (setting, other))
    gains = [np.empty(0)]
    for place in ours.keys() & theirs.keys():
        one, two = ours[place], theirs[place]
        _, in_one, in_two = np.intersect1d(one.images, two.images, return_indices=True)
        gains.append(two.tuned.losses[in_two] - one.tuned.losses[in_one])
    every = np.concatenate(gains)
    if len(every) < 2:
        return Lead(0.0, np.inf)
    return Lead(float(every.mean()), float(every.std(ddof=1) / np.sqrt(len(every))))


def find_worth(trials: Sequence[Trial]) -> float:
    """The mean gain of one setting over all images that judged it, in nats."""
    gains = [trial.frozen.losses - trial.tuned.losses for trial in trials]
    return float(np.concatenate(gains).mean())


def write_arrays(path: Path, trial: Trial) -> None:
    """Writes what is an array; `facts` has the rest."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            images=trial.images,
            tuned_losses=trial.tuned.losses,
            tuned_is_right=trial.tuned.is_right,
            frozen_losses=trial.frozen.losses,
            frozen_is_right=trial.frozen.is_right,
        )


def read_trial(path: Path, facts: dict[str, Any]) -> Trial:
    """Reads a trial again.

    Raises:
        UnreadableError: the arrays cannot be read.
        TypeError: the facts are not those of a trial.
    """
    arrays = read_arrays(path, _TABLES)
    tuned, frozen = (
        Judged(arrays[f"{who}_losses"], arrays[f"{who}_is_right"]) for who in ("tuned", "frozen")
    )
    return Trial(**facts, images=arrays["images"], tuned=tuned, frozen=frozen)
