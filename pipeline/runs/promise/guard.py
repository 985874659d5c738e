"""What stands between a head and its answers: it lets those through that a promise covers.

`guard.npz` in a run holds what decides: `least_confidence`, `greatest_distance` (infinite where any
will do) and `references`, float16 `(n_references, n_features)`. The manifest has its sha256.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.errors import ParityError, RunError
from pipeline.runs.promise.distance import Surroundings
from pipeline.runs.promise.record import PromisePart
from pipeline.runs.run_folder import Run
from pipeline.system.array_files import UnreadableError, read_arrays
from pipeline.system.atomic_files import atomic_path
from pipeline.system.expected_tables import Table
from pipeline.system.paths import sha256_of_file

FILE_NAME = "guard.npz"
UNSURE, UNLIKE = "unsure", "unlike anything seen"


@dataclass(frozen=True)
class Guard:
    """Decides which images get an answer.

    Args:
        facts: of the promise.
        surroundings: what distances are measured from; None where any distance will do.
    """

    facts: PromisePart
    surroundings: Surroundings | None

    def judge(self, features: np.ndarray, probabilities: np.ndarray) -> list[str | None]:
        """For each image None where it is answered, else `unsure` or `unlike anything seen`.

        Args:
            features: float32 (n_samples, n_features).
            probabilities: (n_samples, n_classes).
        """
        is_sure = probabilities.max(axis=1) >= self.facts.least_confidence
        is_near = self.is_near(features)
        return [
            None if sure and near else UNSURE if near else UNLIKE
            for sure, near in zip(is_sure.tolist(), is_near.tolist(), strict=True)
        ]

    def is_near(self, features: np.ndarray) -> np.ndarray:
        """Whether an image is like something seen, bool (n_samples,)."""
        greatest = self.facts.greatest_distance
        if self.surroundings is None or greatest is None:
            return np.ones(len(features), bool)
        is_near: np.ndarray = self.surroundings.measure(features) <= greatest
        return is_near


def save_guard(folder: Path, guard: Guard) -> PromisePart:
    """Writes `guard.npz` into a run's folder; gives what the manifest is to say."""
    greatest = guard.facts.greatest_distance
    surroundings = guard.surroundings
    references = np.empty((0, 0), np.float16) if surroundings is None else surroundings.references
    with atomic_path(folder / FILE_NAME) as path, path.open("wb") as file:
        np.savez(
            file,
            least_confidence=np.float64(guard.facts.least_confidence),
            greatest_distance=np.float64(math.inf if greatest is None else greatest),
            references=references,
        )
    return replace(guard.facts, guard_sha256=sha256_of_file(folder / FILE_NAME))


def load_guard(run: Run) -> Guard | None:
    """The guard of a run; None for one that promises nothing.

    Raises:
        RunError: its file is missing or damaged.
        ParityError: it is not the one that the run was written with.
    """
    facts = run.manifest.promise
    if facts is None:
        return None
    path = run.folder / FILE_NAME
    expected = {
        "least_confidence": Table(np.float64, ()),
        "greatest_distance": Table(np.float64, ()),
        "references": Table(np.float16, ("n_references", "n_features")),
    }
    try:
        arrays = read_arrays(path, expected)
    except UnreadableError as error:
        raise RunError(
            f"This run makes a promise, and the file that keeps it cannot be read ({error}). "
            f"Received: {path}\nMake the run again."
        ) from error
    greatest = float(arrays["greatest_distance"])
    received = (float(arrays["least_confidence"]), None if math.isinf(greatest) else greatest)
    if (
        sha256_of_file(path) != facts.guard_sha256
        or received != (facts.least_confidence, facts.greatest_distance)
        or (len(arrays["references"]) == 0) != (received[1] is None)
    ):
        raise ParityError(
            "The file that keeps this run's promise is not the one that the run was written with, "
            "or its manifest was changed. Expected the sha256 "
            f"{facts.guard_sha256}. Received: {path}\nTake the run from a backup, or make it again."
        )
    references = arrays["references"]
    return Guard(facts, Surroundings(references) if len(references) else None)
