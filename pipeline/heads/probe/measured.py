"""What a probe knows of a candidate: rows of its first images, and how fast they came."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.features.finished_rows import FinishedRows
from pipeline.heads.probe.candidates import Candidate


@dataclass
class Measured:
    """A candidate, and what was measured of it so far.

    Args:
        candidate: what it is.
        target: the feature file that `extract` would write; its parts lie beside it.
        n_tried: so many images of the sample, the first ones, have a row, or cannot be used.
        has_row: bool `(n_tried,)`, which have one.
        features: float32 `(n_rows, n_features)`, theirs.
        n_kept: rows that `extract` will find, of whatever images.
        open_seconds: that making the network ready took last; None before it was.
        rate: images a second, from file to row; None before it was measured.
        problem: why it cannot be used; empty while nothing speaks against it.
    """

    candidate: Candidate
    target: Path
    n_tried: int = 0
    has_row: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    features: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    n_kept: int = 0
    open_seconds: float | None = None
    rate: float | None = None
    problem: str = ""

    def take_rows(self, found: FinishedRows, digests: np.ndarray, n_tried: int) -> None:
        """Reads the rows of the first `n_tried` images.

        Args:
            found: all finished rows.
            digests: uint8 `(n, 32)`, of the sample.
        """
        self.n_tried, self.has_row = n_tried, found.have(digests[:n_tried])
        if self.has_row.any():
            self.features = np.concatenate(list(found.gather(digests[:n_tried][self.has_row])))
        self.n_kept = sum(len(source.digests) for source in found.sources)
