"""How far a picture is from all that trained a head: something else altogether is far away.

The distance is the mean cosine distance to the three nearest training rows. Among the kinds of
distance that were tried (docs/promise.md) it told photos of another data set best, on two data sets
together, and it needs no class and no covariance.

Source: Y. Sun et al., "Out-of-distribution detection with deep nearest neighbors", ICML 2022.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

N_NEAREST = 3
MOST_REFERENCES = 10_000  # training rows; 26 MB in a run at 1,280 features
_MOST_OWN = 2_000
_ROWS_PER_BLOCK = 1024


@dataclass(frozen=True)
class Surroundings:
    """The training rows that distances are measured from.

    Args:
        references: float16 (n_references, n_features), each of length 1.
    """

    references: np.ndarray

    def measure(self, features: np.ndarray) -> np.ndarray:
        """Distances, float32 (n_samples,), 0..2, of features (n_samples, n_features)."""
        references = self.references.astype(np.float32)
        n_nearest = min(N_NEAREST, len(references))
        parts = []
        for block in _blocks(len(features)):
            distances = 1 - _to_length_1(features[block]) @ references.T
            nearest = np.partition(distances, n_nearest - 1, axis=1)[:, :n_nearest]
            parts.append(nearest.mean(axis=1))
        return np.concatenate(parts) if parts else np.empty(0, np.float32)

    def measure_own(self) -> np.ndarray:
        """Distances of references from the others, float32: all, or 2,000 of them, evenly spaced.

        As if each were a new image, which the training rows are to the distance: nothing is fitted.
        """
        references = self.references.astype(np.float32)
        n_nearest = min(N_NEAREST, len(references) - 1)
        if n_nearest < 1:
            return np.empty(0, np.float32)
        n_own = min(len(references), _MOST_OWN)
        rows = np.linspace(0, len(references) - 1, n_own).astype(np.int64)
        parts = []
        for block in _blocks(n_own):
            distances = 1 - _to_length_1(references[rows[block]]) @ references.T
            distances[np.arange(len(distances)), rows[block]] = np.inf
            nearest = np.partition(distances, n_nearest - 1, axis=1)[:, :n_nearest]
            parts.append(nearest.mean(axis=1))
        return np.concatenate(parts)


def surround(features: Any, train: np.ndarray) -> Surroundings:
    """Takes the training rows as references: all, or 10,000 of them, evenly spaced.

    Args:
        features: float32 (n_samples, n_features), or what is sliced like it.
        train: row numbers of different images.
    """
    n_references = min(len(train), MOST_REFERENCES)
    rows = train[np.linspace(0, len(train) - 1, n_references).astype(np.int64)]
    parts = [
        _to_length_1(np.asarray(features[rows[block]])).astype(np.float16)
        for block in _blocks(len(rows))
    ]
    return Surroundings(np.concatenate(parts))


def find_greatest_distance(distances: np.ndarray, unlike: float) -> float | None:
    """The distance that a new image of the same kind exceeds with a probability of `unlike`.

    Args:
        distances: (n,), of images that are no references.
        unlike: between 0 and 1.

    Returns:
        None where `count_needed_distances(unlike)` images are not there.

    Source: the split conformal quantile, V. Vovk et al., "Algorithmic learning in a random world".
    """
    place = math.ceil((len(distances) + 1) * (1 - unlike) - 1e-9)
    return None if place > len(distances) else float(np.sort(distances)[place - 1])


def count_needed_distances(unlike: float) -> int:
    """So few images tell a distance that one in so many exceeds: 49 for 0.02."""
    return math.ceil(1 / unlike - 1e-9) - 1


def _to_length_1(features: np.ndarray) -> np.ndarray:
    rows = np.asarray(features, np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    shortened: np.ndarray = rows / np.maximum(lengths, np.finfo(np.float32).tiny)
    return shortened


def _blocks(n_rows: int) -> Iterator[slice]:
    for start in range(0, n_rows, _ROWS_PER_BLOCK):
        yield slice(start, min(start + _ROWS_PER_BLOCK, n_rows))
