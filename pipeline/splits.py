"""Stable train, val and test membership from the images' digests.

An image keeps its split for ever, whatever is added or renamed, and equal images share one.
"""

import hashlib
from collections import defaultdict

import numpy as np

from pipeline.dataset import NO_SPLIT, SPLITS, UNLABELLED
from pipeline.errors import SplitError

TRAIN, VAL, TEST = range(3)


def hash_to_unit(digest: bytes, seed: int) -> float:
    """The number in [0, 1) that decides an image's split: 64 bits of sha256(digest + seed)."""
    hashed = hashlib.sha256(digest + str(seed).encode()).digest()
    return int.from_bytes(hashed[:8], "big") / 2**64


def assign_splits(
    digests: np.ndarray,
    labels: np.ndarray,
    given: np.ndarray,
    class_names: list[str],
    *,
    val_fraction: float = 0.2,
    test_fraction: float = 0.0,
    seed: int = 0,
) -> np.ndarray:
    """Decides the split of every image.

    Splits that the source gives stay. Where it gives none, all images are divided; where it gives
    train but no val (or no test, and one is asked for), that is carved out of train.

    Args:
        digests: uint8 (n_samples, 32).
        labels: int32 (n_samples,), -1 = none.
        given: int8 (n_samples,), what the source says, -1 = nothing.
        val_fraction, test_fraction: shares of the images that are divided, 0..1.

    Returns:
        int8 (n_samples,): 0 train, 1 val, 2 test, -1 for images without a label.

    Raises:
        SplitError: a class has too few different images, or fractions make no sense.
    """
    if not (0 < val_fraction < 1 and 0 <= test_fraction < 1 and val_fraction + test_fraction < 1):
        raise SplitError(
            "The fractions leave nothing to train on. Expected 0 < val, 0 <= test, and their sum "
            f"below 1. Received: --val-fraction {val_fraction} --test-fraction {test_fraction}"
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
    rows_of = defaultdict(list)
    for row in np.flatnonzero(is_divided):
        rows_of[digests[row].tobytes()].append(row)
    u_of = {digest: hash_to_unit(digest, seed) for digest in rows_of}
    split_of = {digest: _split_at(u, carved) for digest, u in u_of.items()}
    for label, name in enumerate(class_names):
        of_class = sorted(
            {d for d, rows in rows_of.items() if any(labels[row] == label for row in rows)},
            key=u_of.__getitem__,
        )
        _fill_empty_splits(of_class, split_of, carved, name)
    for digest, rows in rows_of.items():
        splits[rows] = split_of[digest]
    splits[~labelled] = NO_SPLIT
    _require_training_images(splits, labels, class_names)
    return splits


def _split_at(u: float, fractions: dict[int, float]) -> int:
    """val takes the lowest part of [0, 1), test the next, train the rest."""
    edge = 0.0
    for split in (VAL, TEST):
        edge += fractions.get(split, 0.0)
        if u < edge:
            return split
    return TRAIN


def _fill_empty_splits(
    digests: list[bytes], split_of: dict[bytes, int], fractions: dict[int, float], class_name: str
) -> None:
    """Gives each split that a class lacks the image with the smallest u of a split with more."""
    needed = [TRAIN, *fractions]
    if not digests or len(needed) == 1:
        return
    if len(digests) < len(needed):
        names = ", ".join(SPLITS[split] for split in needed)
        raise SplitError(
            f"Class {class_name!r} is too small to be split. Expected at least {len(needed)} "
            f"different images, one each for {names}. Received: {len(digests)}\n"
            "Add images to it, or take its folder out and run extract again."
        )
    for split in needed:
        members = defaultdict(list)
        for digest in digests:
            members[split_of[digest]].append(digest)
        if not members[split]:
            giver = max(needed, key=lambda other: (len(members[other]), -other))
            split_of[members[giver][0]] = split


def _require_training_images(
    splits: np.ndarray, labels: np.ndarray, class_names: list[str]
) -> None:
    for label, name in enumerate(class_names):
        if np.any(labels == label) and not np.any((labels == label) & (splits == TRAIN)):
            raise SplitError(
                f"Class {name!r} has no image in the training split. Expected at least one. "
                f"Received: {np.sum(labels == label)} image(s), all in other splits."
            )


def find_straddlers(digests: np.ndarray, splits: np.ndarray) -> list[list[int]]:
    """Rows of equal images that lie in different splits, a list per image."""
    rows_of = defaultdict(list)
    for row, digest in enumerate(digests):
        rows_of[digest.tobytes()].append(row)
    return [
        rows
        for rows in rows_of.values()
        if len({int(splits[row]) for row in rows if splits[row] != NO_SPLIT}) > 1
    ]
