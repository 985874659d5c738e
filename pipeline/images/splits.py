"""The three splits, by name and by number, and stable membership from the images' digests.

An image keeps its split for ever, whatever is added or renamed, and equal images share one.
"""

import hashlib
import re
from collections import Counter, defaultdict

import numpy as np

from pipeline.errors import SplitError

SPLITS = ("train", "val", "test")
TRAIN, VAL, TEST = range(3)
NO_SPLIT = -1  # the source does not say, or the image has no label
UNLABELLED = -1  # in the place of a label

_SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trainset"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "valset", "dev", "eval"), VAL),
    **dict.fromkeys(("test", "testing", "testset"), TEST),
}


def split_of_name(name: str) -> int | None:
    """`seg_train` -> 0, `training_set` -> 0, `validation` -> 1, `daisy` -> None."""
    words = re.split(r"[^a-z]+", name.lower())
    splits = {_SPLIT_WORDS[word] for word in words if word in _SPLIT_WORDS}
    return splits.pop() if len(splits) == 1 else None


def hash_to_unit(key: bytes, seed: int) -> float:
    """The number in [0, 1) that decides a split: 64 bits of sha256(key + seed).

    The key is an image's digest, or that of its group's name.
    """
    hashed = hashlib.sha256(key + str(seed).encode()).digest()
    return int.from_bytes(hashed[:8], "big") / 2**64


def assign_splits(
    keys: np.ndarray,
    labels: np.ndarray,
    given: np.ndarray,
    class_names: list[str],
    *,
    arrivals: np.ndarray | None = None,
    val_fraction: float = 0.2,
    test_fraction: float = 0.0,
    seed: int = 0,
) -> np.ndarray:
    """Decides the split of every image.

    Splits that the source gives stay. Where it gives none, all images are divided; where it gives
    train but no val (or no test, and one is asked for), that is carved out of train.

    A class that by chance has no image in a split gives it the one with the smallest u. Which
    image that is depends on what else is in the class; so that one that is added later cannot
    take its place, images are divided in the order in which they arrived.

    Args:
        keys: uint8 (n_samples, 32): the images' digests, or those of `groups.py`; rows of one key
            share a split.
        labels: int32 (n_samples,), -1 = none.
        given: int8 (n_samples,), what the source says, -1 = nothing.
        arrivals: int32 (n_samples,), number of the extraction that first saw the image; None =
            all came at once.
        val_fraction, test_fraction: shares of the images that are divided, 0..1.

    Returns:
        int8 (n_samples,): 0 train, 1 val, 2 test, -1 for images without a label.

    Raises:
        SplitError: a class has too few different images, or fractions make no sense.
    """
    if not (0 < val_fraction < 1 and 0 <= test_fraction < 1 and val_fraction + test_fraction < 1):
        raise SplitError(
            "The fractions leave nothing to train on. Expected 0 < val, 0 <= test, and their sum "
            f"below 1. Received: `val_fraction={val_fraction}` `test_fraction={test_fraction}`"
        )
    labelled = labels != UNLABELLED
    wanted = {VAL: val_fraction, TEST: test_fraction}
    carved = {
        split: fraction
        for split, fraction in wanted.items()
        if fraction > 0 and not np.any(given[labelled] == split)
    }
    # Only a data set that gives val, or val and test, itself keeps its unassigned images in train.
    splits = np.where(given == NO_SPLIT, TRAIN, given).astype(np.int8)
    is_divided = labelled & (splits == TRAIN)
    division = _Division(carved, class_names, seed)
    arrivals = np.zeros(len(labels), np.int32) if arrivals is None else arrivals
    for arrival in np.unique(arrivals[is_divided]):
        rows = np.flatnonzero(is_divided & (arrivals == arrival))
        division.add(keys[rows], labels[rows])
    division.check()
    for row in np.flatnonzero(is_divided):
        splits[row] = division.split_of[keys[row].tobytes()]
    splits[~labelled] = NO_SPLIT
    _require_training_images(splits, labels, class_names)
    return splits


class _Division:
    """Keys divided so far; what is decided of one stays, whatever is added."""

    def __init__(self, fractions: dict[int, float], class_names: list[str], seed: int):
        self.split_of: dict[bytes, int] = {}
        self._fractions = fractions
        self._needed = [TRAIN, *fractions]
        self._class_names = class_names
        self._seed = seed
        self._classes_of: dict[bytes, set[int]] = defaultdict(set)
        self._keys_of: list[list[bytes]] = [[] for _ in class_names]

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

    def check(self) -> None:
        """Raises a SplitError for the first class with too few keys, or with none for a split."""
        for name, keys in zip(self._class_names, self._keys_of, strict=True):
            if 0 < len(keys) < len(self._needed):
                names = ", ".join(SPLITS[split] for split in self._needed)
                raise SplitError(
                    f"Class {name!r} is too small to be split. Expected at least "
                    f"{len(self._needed)} different images (groups, with `group_by`), one each "
                    f"for {names}. Received: {len(keys)}\n"
                    "Add images to it, or take its folder out and run extract again."
                )
            lacking = self._find_empty_splits(keys) if keys else []
            if lacking:
                raise SplitError(
                    f"Class {name!r} has no image for {SPLITS[lacking[0]]}: it shares its groups "
                    "(or equal images) with classes that need them in other splits. Expected one "
                    f"that can be spared. Received: {len(keys)} groups\n"
                    "Add images of other groups to it; or try another `seed` or fewer splits."
                )

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


def _require_training_images(
    splits: np.ndarray, labels: np.ndarray, class_names: list[str]
) -> None:
    for label, name in enumerate(class_names):
        if np.any(labels == label) and not np.any((labels == label) & (splits == TRAIN)):
            raise SplitError(
                f"Class {name!r} has no image in the training split. Expected at least one. "
                f"Received: {np.sum(labels == label)} image(s), all in other splits.\n"
                "Add images to it; or, with `group_by`, try another `seed`."
            )


def find_straddlers(keys: np.ndarray, splits: np.ndarray) -> list[list[int]]:
    """Rows of equal images (or of one group) that lie in different splits, a list per key."""
    return [
        rows
        for rows in _group_rows(keys)
        if len({int(splits[row]) for row in rows if splits[row] != NO_SPLIT}) > 1
    ]


def find_equal_images(digests: np.ndarray) -> list[list[int]]:
    """Rows of images that are in the data set more than once, a list per image."""
    return [rows for rows in _group_rows(digests) if len(rows) > 1]


def find_conflicts(digests: np.ndarray, labels: np.ndarray) -> list[list[int]]:
    """Rows of equal images with different labels, a list per image."""
    return [
        rows
        for rows in find_equal_images(digests)
        if len({int(labels[row]) for row in rows if labels[row] != UNLABELLED}) > 1
    ]


def _group_rows(keys: np.ndarray) -> list[list[int]]:
    rows_of = defaultdict(list)
    for row, key in enumerate(keys):
        rows_of[key.tobytes()].append(row)
    return list(rows_of.values())
