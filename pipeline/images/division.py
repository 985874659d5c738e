"""Decides the split of every image: what the source gives stays, the rest is divided by a rule.

An image keeps its split for ever, whatever is added, removed or renamed, and equal images share
one. `exact_rule.py` and `chance_rule.py` say what each rule promises.
"""

import numpy as np

from pipeline.errors import SplitError
from pipeline.images.chance_rule import divide_by_chance
from pipeline.images.exact_rule import Roster, divide_exactly
from pipeline.images.split_rules import CHANCE, EXACT
from pipeline.images.splits import NO_SPLIT, SPLITS, TEST, TRAIN, UNLABELLED, VAL
from pipeline.system.printable import count, name_some


def find_missing_splits(
    labels: np.ndarray, given: np.ndarray, *, val_fraction: float, test_fraction: float
) -> dict[int, float]:
    """The splits that are to be made, with their fractions: those that the source gives none of.

    Args:
        labels: int32 (n_samples,), -1 = none.
        given: int8 (n_samples,), what the source says, -1 = nothing.

    Raises:
        SplitError: the fractions make no sense.
    """
    if not (0 < val_fraction < 1 and 0 <= test_fraction < 1 and val_fraction + test_fraction < 1):
        raise SplitError(
            "The fractions leave nothing to train on. Expected 0 < val, 0 <= test, and their sum "
            f"below 1. Received: `val_fraction={val_fraction}` `test_fraction={test_fraction}`"
        )
    is_given = {split: bool(np.any(given[labels != UNLABELLED] == split)) for split in (VAL, TEST)}
    wanted = {VAL: val_fraction, TEST: test_fraction}
    return {split: f for split, f in wanted.items() if f > 0 and not is_given[split]}


def is_divisible(labels: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Which images have a label and are in no given val or test, bool (n_samples,).

    Only a data set that gives val, or val and test, itself keeps its unassigned images in train.
    """
    return (labels != UNLABELLED) & ((given == NO_SPLIT) | (given == TRAIN))


def assign_splits(
    keys: np.ndarray,
    labels: np.ndarray,
    given: np.ndarray,
    class_names: list[str],
    *,
    rule: str = EXACT,
    arrivals: np.ndarray | None = None,
    roster: Roster | None = None,
    val_fraction: float = 0.2,
    test_fraction: float = 0.0,
    seed: int = 0,
    has_groups: bool = False,
) -> np.ndarray:
    """Decides the split of every image.

    Splits that the source gives stay. Where it gives none, all images are divided; where it gives
    train but no val (or no test, and one is asked for), that is carved out of train.

    Args:
        keys: uint8 (n_samples, 32): the images' digests, or those of `groups.py`; rows of one key
            share a split.
        labels: int32 (n_samples,), -1 = none.
        given: int8 (n_samples,), what the source says, -1 = nothing.
        rule: `exact` or `chance`.
        arrivals: int32 (n_samples,), number of the extraction that first saw the image; None =
            all came at once.
        roster: for the exact rule, all that were ever to be divided; None = those that are here,
            with the labels that they have now.
        val_fraction, test_fraction: shares of the images that are divided, 0..1.
        seed: decides which images.
        has_groups: whether keys stand for groups, for the words of an error.

    Returns:
        int8 (n_samples,): 0 train, 1 val, 2 test, -1 for images without a label.

    Raises:
        SplitError: a class has too few different images, or fractions make no sense.
    """
    fractions = find_missing_splits(
        labels, given, val_fraction=val_fraction, test_fraction=test_fraction
    )
    splits = np.where(given == NO_SPLIT, TRAIN, given).astype(np.int8)
    splits[labels == UNLABELLED] = NO_SPLIT
    rows = np.flatnonzero(is_divisible(labels, given))
    if fractions:
        needed = [TRAIN, *fractions]
        _require_enough(keys[rows], labels[rows], class_names, needed, has_groups=has_groups)
        came = np.zeros(len(labels), np.int32) if arrivals is None else arrivals
        here = Roster(keys[rows], keys[rows], labels[rows], came[rows], class_names)
        if rule == CHANCE:
            split_of = divide_by_chance(
                here.keys, here.classes, here.arrivals, len(class_names), fractions, seed
            )
        else:
            here = roster or here
            split_of = divide_exactly(here, fractions, seed)
        splits[rows] = [split_of[keys[row].tobytes()] for row in rows]
        _require_all_splits(here, split_of, class_names, needed)
    require_training_images(splits, labels, class_names, is_made=bool(fractions))
    return splits


def _list_units(keys: np.ndarray, labels: np.ndarray, n_classes: int) -> list[set[bytes]]:
    """What is never divided (an image with its copies, or a group), by class."""
    units: list[set[bytes]] = [set() for _ in range(n_classes)]
    for row, label in enumerate(labels.tolist()):
        units[label].add(keys[row].tobytes())
    return units


def _require_enough(
    keys: np.ndarray,
    labels: np.ndarray,
    class_names: list[str],
    needed: list[int],
    *,
    has_groups: bool,
) -> None:
    """Raises a SplitError for the classes with fewer units than splits."""
    units = _list_units(keys, labels, len(class_names))
    sizes = {
        name: len(some)
        for name, some in zip(class_names, units, strict=True)
        if 0 < len(some) < len(needed)
    }
    if sizes:
        counts = " or ".join(map(str, sorted(set(sizes.values()))))
        raise SplitError(
            f"{_name_classes(list(sizes), 'is', 'are')} too small to be split. Expected at least "
            f"{len(needed)} {'groups' if has_groups else 'different images'} of each class, one "
            f"each for {', '.join(SPLITS[split] for split in needed)}. Received: {counts}\n"
            "Add images; or leave out classes that are so small: "
            f"`frostline.fit_head(FEATURES, drop_small={len(needed)})`"
        )


def _require_all_splits(
    roster: Roster, split_of: dict[bytes, int], class_names: list[str], needed: list[int]
) -> None:
    """Raises a SplitError where classes that share units stand in each other's way.

    A class may also lack a split because the images that it had there are gone, or are of
    another class now. That is no error: those that are left keep their splits.
    """
    units = _list_units(roster.keys, roster.classes, len(roster.class_names))
    present = set(class_names)
    large = {
        name: {split_of[unit] for unit in some}
        for name, some in zip(roster.class_names, units, strict=True)
        if len(some) >= len(needed) and name in present
    }
    for split in needed:
        names = [name for name, held in large.items() if split not in held]
        if names:
            raise SplitError(
                f"{_name_classes(names, 'has', 'have')} no image for {SPLITS[split]}: groups (or "
                "equal images) are shared with classes that need them in other splits. Expected "
                "at least one of each class. Received: none\n"
                "Add other images; or try another `seed` or fewer splits."
            )


def require_training_images(
    splits: np.ndarray, labels: np.ndarray, class_names: list[str], *, is_made: bool
) -> None:
    """Raises a SplitError for the classes of which no image is left to train on."""
    present = np.unique(labels[labels != UNLABELLED])
    trained = np.unique(labels[(labels != UNLABELLED) & (splits == TRAIN)])
    lacking = np.setdiff1d(present, trained)
    if len(lacking):
        names = [class_names[label] for label in lacking.tolist()]
        n_images = int(np.isin(labels, lacking).sum())
        seed = ", or try another `seed`" if is_made else ""
        raise SplitError(
            f"{_name_classes(names, 'has', 'have')} no image in the training split. Expected at "
            f"least one. Received: {count(n_images, 'image')}, all in other splits.\n"
            f"Add images to train on{seed}."
        )


def _name_classes(names: list[str], singular: str, plural: str) -> str:
    """`Class 'a' is`; `12 classes ('a', 'b', 'c' and 9 more) are`."""
    if len(names) == 1:
        return f"Class {names[0]!r} {singular}"
    return f"{len(names):,} classes ({name_some(names)}) {plural}"
