"""The rule by which splits are made: every class gets its shares to one image.

What it goes by is the roster of all images that were ever to be divided, each with the class and
the extraction in which it came. It is gone through in the order of arrival, and what is decided of
an image depends on nothing that came later. So an image keeps its split whatever is added, removed,
renamed or put into another class.
"""

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from pipeline.images.splits import TRAIN


@dataclass(frozen=True)
class Roster:
    """All images that were ever to be divided, also those that are gone.

    Args:
        keys: uint8 (n_entries, 32): entries of one key share a split.
        digests: uint8 (n_entries, 32); an image counts once in a class.
        classes: int32 (n_entries,), the class in which the image came, as an index.
        arrivals: int32 (n_entries,), number of the extraction with which it came.
        class_names: what `classes` are indices into.
    """

    keys: np.ndarray
    digests: np.ndarray
    classes: np.ndarray
    arrivals: np.ndarray
    class_names: list[str]


def divide_exactly(roster: Roster, fractions: dict[int, float], seed: int) -> dict[bytes, int]:
    """The split of each key.

    For a class of single images, after each arrival: of n images val has f n, rounded up or down,
    and so has test, unless that would be none: each split has an image as soon as there are enough
    for all. The rest is for train. Which way is rounded the seed decides for each class, so that
    the shares of many small classes are right together. Groups (and equal images) count as many
    images as they hold and are never divided, so with them shares are exact to a group.

    Args:
        fractions: of val, of test or of both, 0..1, of a sum below 1.
        seed: decides which images.
    """
    division = _Division(roster.class_names, fractions, seed)
    for gains in _list_arrivals(roster):
        division.add(gains)
    return division.split_of


_Gains = dict[bytes, dict[int, int]]  # of a key: how many images of which class


def _list_arrivals(roster: Roster) -> list[_Gains]:
    """What came, arrival by arrival; each image once, however many copies of it there are."""
    gains_of: dict[int, _Gains] = defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
    seen = set()
    for row, (label, arrival) in enumerate(
        zip(roster.classes.tolist(), roster.arrivals.tolist(), strict=True)
    ):
        image = roster.digests[row].tobytes(), label
        if image not in seen:
            seen.add(image)
            gains_of[arrival][roster.keys[row].tobytes()][label] += 1
    return [gains_of[arrival] for arrival in sorted(gains_of)]


class _Class:
    """What came of one class so far: images and units (groups, or single images) by split."""

    def __init__(self, shares: list[float], phase: float):
        self.shares = shares
        self.n_images = 0
        self.n_units = 0
        self.images = [0] * len(shares)
        self.units = [0] * len(shares)
        self.missing = [0.0] * len(shares)  # images that each split is short of its aim
        self._phase = phase

    def count(self, place: int, n_images: int, n_units: int) -> None:
        self.images[place] += n_images
        self.units[place] += n_units
        self.missing[place] -= n_images

    @property
    def lacks(self) -> int:
        """How many splits are empty that need not be, with so many units."""
        n_filled = sum(n > 0 for n in self.units)
        return max(0, min(len(self.units), self.n_units) - n_filled)

    def aim(self) -> None:
        """Sets what each split is to get of the images that are here now.

        Whole numbers, next to the exact shares. Where a split holds more already, the exact shares
        themselves: single images that go where most is missing then leave every split less than
        one image from its share (of three splits; Tijdeman, "The chairman assignment problem",
        Discrete Mathematics 32, 1980, has the general case).
        """
        aims, upto, edge = [0] * len(self.shares), 0, 0.0
        for place, share in enumerate(self.shares[1:], start=1):
            edge += share
            below = upto
            upto = math.floor(round(edge * self.n_images, 9) + self._phase)
            aims[place] = upto - below
        aims[0] = self.n_images - upto
        while sum(aim > 0 for aim in aims) < min(len(aims), self.n_units):
            empty = max((p for p, aim in enumerate(aims) if aim == 0), key=self.shares.__getitem__)
            aims[empty] += 1
            aims[aims.index(max(aims))] -= 1
        is_within_reach = all(aim >= n for aim, n in zip(aims, self.images, strict=True))
        exact = [share * self.n_images for share in self.shares]
        wanted = aims if is_within_reach else exact
        self.missing = [aim - n for aim, n in zip(wanted, self.images, strict=True)]


class _Division:
    """Keys divided so far; what is decided of one stays, whatever comes later."""

    def __init__(self, class_names: list[str], fractions: dict[int, float], seed: int):
        self.split_of: dict[bytes, int] = {}
        self._splits = [TRAIN, *fractions]
        self._seed = str(seed).encode()
        shares = [1.0 - sum(fractions.values()), *fractions.values()]
        self._classes = [_Class(shares, self._draw_phase(name)) for name in class_names]
        self._place_of: dict[bytes, int] = {}
        self._images_of: _Gains = {}

    def add(self, gains: _Gains) -> None:
        """Divides what came with one arrival."""
        new = sorted((key for key in gains if key not in self._place_of), key=self._order)
        for key, by_class in gains.items():
            place = self._place_of.get(key)
            known = self._images_of.setdefault(key, {})
            for label, n in sorted(by_class.items()):  # so that sums do not depend on paths
                n_units = int(label not in known)
                known[label] = known.get(label, 0) + n
                self._classes[label].n_images += n
                self._classes[label].n_units += n_units
                if place is not None:  # more images of a group that has its split
                    self._classes[label].count(place, n, n_units)
        for label in {label for by_class in gains.values() for label in by_class}:
            self._classes[label].aim()
        for key in new:
            self._put(key, self._choose(key))
        self._fill_empty_splits(new)

    def _order(self, key: bytes) -> bytes:
        return hashlib.sha256(key + self._seed).digest()

    def _draw_phase(self, class_name: str) -> float:
        """In [0, 1): what is rounded up and what down."""
        name = class_name.encode("utf-8", "surrogatepass")
        hashed = hashlib.sha256(b"class " + name + b" " + self._seed).digest()
        return int.from_bytes(hashed[:6], "big") / 2**48

    def _choose(self, key: bytes) -> int:
        """The place of the split of which most is missing in the key's classes."""
        by_class = self._images_of[key]
        if len(by_class) == 1:
            missing = self._classes[next(iter(by_class))].missing
        else:
            missing = [
                sum(n * self._classes[label].missing[place] for label, n in by_class.items())
                for place in range(len(self._splits))
            ]
        return missing.index(max(missing))

    def _put(self, key: bytes, place: int) -> None:
        before = self._place_of.get(key)
        for label, n in self._images_of[key].items():
            if before is not None:
                self._classes[label].count(before, -n, -1)
            self._classes[label].count(place, n, 1)
        self._place_of[key] = place
        self.split_of[key] = self._splits[place]

    def _fill_empty_splits(self, new: list[bytes]) -> None:
        """Moves keys that just came to where a class lacks one; never the last that a class has.

        Needed for groups, which may be too large for a small aim, or be shared by classes.
        """
        new_of = defaultdict(list)
        for key in new:
            for label in self._images_of[key]:
                new_of[label].append(key)
        is_changed = True
        while is_changed:  # to fill one class may open a way for another, and never empties one
            lacking = [label for label in sorted(new_of) if self._classes[label].lacks]
            is_changed = sum(self._fill(label, new_of[label]) for label in lacking) > 0

    def _fill(self, label: int, new: list[bytes]) -> bool:
        """Gives one empty split of a class the key whose move costs least; whether there is one."""
        units = self._classes[label].units
        moves = [
            (self._cost(key, place), number, place)
            for place in range(len(units))
            if units[place] == 0
            for number, key in enumerate(new)
            if units[self._place_of[key]] > 1
            and all(self._can_spare(other, key, place) for other in self._images_of[key])
        ]
        if not self._classes[label].lacks or not moves:
            return False
        _, number, place = min(moves)
        self._put(new[number], place)
        return True

    def _can_spare(self, label: int, key: bytes, to: int) -> bool:
        """Whether a class is not left with too few splits when this key is moved."""
        units = self._classes[label].units
        is_emptied = units[self._place_of[key]] == 1 and units[to] > 0
        n_filled = sum(n > 0 for n in units) - is_emptied
        return not is_emptied or n_filled >= min(len(units), self._classes[label].n_units)

    def _cost(self, key: bytes, to: int) -> float:
        """By how much the squared distance from the aims would grow, halved."""
        here = self._place_of[key]
        return sum(
            n * (self._classes[label].missing[here] - self._classes[label].missing[to]) + n * n
            for label, n in self._images_of[key].items()
        )
