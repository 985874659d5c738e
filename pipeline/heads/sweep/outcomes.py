"""What came of a setting, and the one file that keeps it until the sweep is done."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.system.array_files import UnreadableError, read_arrays
from pipeline.system.atomic_files import write_bytes
from pipeline.system.expected_tables import Table

_EXPECTED = {
    "facts": Table(np.str_, ()),
    "losses": Table(np.float64, ("n_val",)),
    "is_right": Table(np.bool_, ("n_val",)),
}


@dataclass(frozen=True, eq=False)
class Outcome:
    """How one setting did on the validation images.

    Args:
        number: of the setting among all of the sweep.
        chosen: what the head chose itself by validation or by leaving out, such as
            `epoch 12 of 22`; empty where it chose nothing.
        losses: log-loss of each validation image, float64 `(n_val,)`.
        is_right: whether each has its label's class as the most probable, bool `(n_val,)`.
        seconds: that it took.
        failed: why it could not be fitted; empty where it could. Then there are no images.
    """

    number: int
    chosen: str
    losses: np.ndarray
    is_right: np.ndarray
    seconds: float
    failed: str = ""

    @property
    def log_loss(self) -> float:
        """Mean over the validation images, nats; infinite where it failed."""
        return float(self.losses.mean()) if len(self.losses) else float("inf")

    @property
    def accuracy(self) -> float:
        """0..1; 0 where it failed."""
        return float(self.is_right.mean()) if len(self.is_right) else 0.0

    @property
    def rank(self) -> tuple[float, float, int]:
        """The lowest is the best: log-loss, of equals the higher accuracy, then the first."""
        return self.log_loss, -self.accuracy, self.number


def make_failure(number: int, reason: str, seconds: float) -> Outcome:
    """Of a setting that could not be fitted."""
    return Outcome(number, "", np.empty(0), np.empty(0, bool), seconds, reason)


def save_outcome(folder: Path, outcome: Outcome) -> None:
    """Writes it atomically, under its number.

    Raises:
        StorageError: it cannot be written.
    """
    facts = {name: getattr(outcome, name) for name in ("chosen", "seconds", "failed")}
    data = io.BytesIO()
    np.savez(
        data,
        facts=np.array(json.dumps(facts, ensure_ascii=True)),
        losses=outcome.losses,
        is_right=outcome.is_right,
    )
    write_bytes(_name(folder, outcome.number), data.getvalue())


def read_outcome(folder: Path, number: int) -> Outcome | None:
    """The outcome that was kept; None where there is none, or it is damaged: then it is fitted."""
    try:
        arrays = read_arrays(_name(folder, number), _EXPECTED)
        facts: dict[str, Any] = json.loads(str(arrays["facts"]))
        return Outcome(
            number,
            str(facts["chosen"]),
            arrays["losses"],
            arrays["is_right"],
            float(facts["seconds"]),
            str(facts["failed"]),
        )
    except (UnreadableError, ValueError, KeyError, TypeError):
        return None


def _name(folder: Path, number: int) -> Path:
    return folder / f"setting-{number}.npz"
