"""Who judges a round: the run's own validation images, or some of those it trained on, held out.

The validation images that the run has judge once, at the end; so few trainings are compared on
them that hardly any is the luckiest. The rounds before are judged by training images in turn, with
a head that was fitted without them.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.errors import FeatureFileError, RunError
from pipeline.finetuning.parent import Parent
from pipeline.heads.fit import fit
from pipeline.heads.folds import hold_out_in_turn
from pipeline.heads.head import Head
from pipeline.heads.registry import HEADS
from pipeline.heads.rows.rows_of_run import open_rows_of_run
from pipeline.images.splits import TRAIN, VAL
from pipeline.runs.predictions import Predictions
from pipeline.system.options import list_options
from pipeline.system.progress import OnProgress

N_PARTS = 4
MANY_IMAGES = 1000  # of validation: with so many, chance moves an accuracy by a point at most
FEWEST_HELD = 20


@dataclass(frozen=True)
class Division:
    """How the images are divided in a round.

    Args:
        before: what the head says, with the splits of this division.
        head: fitted without those that judge; None = the run's own.
    """

    before: Predictions
    head: Head | None


@dataclass(frozen=True)
class Divisions:
    """All ways in which the images may be divided; number 0 is the run's own.

    Args:
        parts: who judges in turn, bool `(n_images,)` each.
        units: int `(n_images,)`, equal for images that belong together.
        note: why there is no other, in words; empty where there are some.
    """

    parent: Parent
    parts: tuple[np.ndarray, ...]
    units: np.ndarray
    seed: int
    note: str

    @property
    def divides(self) -> bool:
        return bool(self.parts)

    def make(self, number: int, on_progress: OnProgress) -> Division:
        """One of them; its head is fitted now."""
        before = self.parent.before
        if number == 0:
            return Division(before, None)
        is_held = self.parts[(number - 1) % len(self.parts)]
        splits = np.where(before.splits == TRAIN, TRAIN, -1).astype(np.int8)
        splits[is_held] = VAL
        return _fit_without(self.parent, splits, self.seed, on_progress)


def find_divisions(parent: Parent, seed: int) -> Divisions:
    """The divisions of a run's images.

    Args:
        seed: decides which images are held out together.
    """
    before = parent.before
    units, why = _find_units(parent)
    n_judging = int((before.splits == VAL).sum())
    if n_judging >= MANY_IMAGES:
        why = "they are many"
    train = np.flatnonzero(before.splits == TRAIN)
    parts = []
    for is_held in (
        () if why else hold_out_in_turn(before.labels[train], units[train], N_PARTS, seed)
    ):
        part = np.zeros(len(before.labels), bool)
        part[train[is_held]] = True
        parts.append(part)
    if not why and (not parts or min(part.sum() for part in parts) < FEWEST_HELD):
        why, parts = f"one of {N_PARTS} parts of the training images is too small", []
    note = f"The {n_judging:,} validation images judge all rounds, since {why}." if why else ""
    return Divisions(parent, tuple(parts), units, seed, note)


def _find_units(parent: Parent) -> tuple[np.ndarray, str]:
    """Which images belong together; and why no head can be fitted without some of them, empty
    where one can.
    """
    run = parent.run
    equal = np.unique(parent.digests, axis=0, return_inverse=True)[1].ravel()
    if run.kind not in HEADS:
        return equal, "the network was trained on all training images"
    try:
        with open_rows_of_run(run) as of_run:
            return of_run.units[of_run.rows], ""
    except (FeatureFileError, RunError) as error:
        reason = str(error).split("\n")[0].rstrip(".")
        return equal, f"the head's features cannot be read ({reason})"


def _fit_without(
    parent: Parent, splits: np.ndarray, seed: int, on_progress: OnProgress
) -> Division:
    """A head as the run's, fitted on other images; and what it says of all."""
    run, before = parent.run, parent.before
    known = {entry.name for entry in list_options(HEADS[run.kind].options)}
    options: dict[str, Any] = {
        name: value for name, value in run.manifest.parameters.items() if name in known
    }
    with open_rows_of_run(run) as of_run:
        features = of_run.features[of_run.rows]
        fitted = fit(
            features,
            before.labels,
            split=splits,
            head=run.kind,
            class_names=run.class_names,
            groups=of_run.units[of_run.rows],
            seed=seed,
            on_progress=on_progress,
            **options,
        )
    said = replace(before, splits=splits, probabilities=fitted.probabilities)
    return Division(said, fitted.head)
