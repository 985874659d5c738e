"""The rule of 0.1.0: each image by itself is in a split by the chance of its digest.

A class's shares are only about those asked for. Files and runs of then keep this rule, so nothing
here may change what it gives.
"""

import hashlib
from collections import Counter, defaultdict

import numpy as np

from pipeline.images.splits import TEST, TRAIN, VAL


def hash_to_unit(key: bytes, seed: int) -> float:
    """The number in [0, 1) that decides a split: 64 bits of sha256(key + seed).

    The key is an image's digest, or that of its group's name.
    """
    hashed = hashlib.sha256(key + str(seed).encode()).digest()
    return int.from_bytes(hashed[:8], "big") / 2**64


def divide_by_chance(
    keys: np.ndarray,
    labels: np.ndarray,
    arrivals: np.ndarray,
    n_classes: int,
    fractions: dict[int, float],
    seed: int,
) -> dict[bytes, int]:
    """The split of each key.

    A class that by chance has no image in a split gives it the one with the smallest u. Which
    image that is depends on what else is in the class; so that one that is added later cannot
    take its place, images are divided in the order in which they arrived.

    Args:
        keys: uint8 (n_samples, 32); rows of one key share a split.
        labels: int32 (n_samples,), 0 to below `n_classes`.
        arrivals: int32 (n_samples,), number of the extraction that first saw the image.
        fractions: of val, of test or of both.
    """
    division = _Division(fractions, n_classes, seed)
    for arrival in np.unique(arrivals):
        rows = np.flatnonzero(arrivals == arrival)
        division.add(keys[rows], labels[rows])
    return division.split_of


class _Division:
    """Keys divided so far; what is decided of one stays, whatever is added."""

    def __init__(self, fractions: dict[int, float], n_classes: int, seed: int):
        self.split_of: dict[bytes, int] = {}
        self._fractions = fractions
        self._needed = [TRAIN, *fractions]
        self._seed = seed
        self._classes_of: dict[bytes, set[int]] = defaultdict(set)
        self._keys_of: list[list[bytes]] = [[] for _ in range(n_classes)]

    def add(self, keys: np.ndarray, labels: np.ndarray) -> None:
        """Divides more rows: by their u, then by what their classes lack."""
        added = set()
        for row, label in enumerate(labels.tolist()):
            key = keys[row].tobytes()
            if key not in self.split_of:
                self.split_of[key] = self._split_at(hash_to_unit(key, self._seed))
                added.add(key)
            if label not in self._classes_of[key]:
                self._classes_of[key].add(label)
                self._keys_of[label].append(key)
        classes = [keys for keys in self._keys_of if len(keys) >= len(self._needed)]
        is_changed = True
        while is_changed:  # to fill one class may open a way for another, and never empties one
            changes = [self._fill_empty_splits(keys, added) for keys in classes]
            is_changed = any(changes)

    def _split_at(self, u: float) -> int:
        """val takes the lowest part of [0, 1), test the next, train the rest."""
        edge = 0.0
        for split in (VAL, TEST):
            edge += self._fractions.get(split, 0.0)
            if u < edge:
                return split
        return TRAIN

    def _fill_empty_splits(self, keys: list[bytes], added: set[bytes]) -> bool:
        """Gives each split that a class lacks a key of the split with the most; whether any.

        The key with the smallest u, of those just added and of this class only where there are any;
        never the last one that a class has in a split.
        """
        lacking = self._find_empty_splits(keys)
        if not lacking:
            return False
        in_order = sorted(
            keys,
            key=lambda key: (
                key not in added,
                len(self._classes_of[key]) > 1,
                hash_to_unit(key, self._seed),
            ),
        )
        is_changed = False
        for split in lacking:
            sizes = Counter(self.split_of[key] for key in keys)
            by_size = sorted(in_order, key=lambda key: self._rank_giver(key, sizes))
            given = next((key for key in by_size if self._can_be_spared(key)), None)
            if given is not None:
                self.split_of[given] = split
                is_changed = True
        return is_changed

    def _rank_giver(self, key: bytes, sizes: Counter[int]) -> tuple[int, int]:
        """Keys of the largest split first, of train where two are as large."""
        return -sizes[self.split_of[key]], self.split_of[key]

    def _find_empty_splits(self, keys: list[bytes]) -> list[int]:
        held = {self.split_of[key] for key in keys}
        return [split for split in self._needed if split not in held]

    def _can_be_spared(self, key: bytes) -> bool:
        """Whether each class that is to be divided has another key in the same split."""
        split = self.split_of[key]
        return all(
            sum(self.split_of[other] == split for other in self._keys_of[label]) > 1
            for label in self._classes_of[key]
            if len(self._keys_of[label]) >= len(self._needed)
        )
