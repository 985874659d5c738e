"""Folds: each class has its share of each; equal images, and those of one group, stay together."""

import warnings
from collections.abc import Iterator

import numpy as np

from pipeline.errors import SplitError
from pipeline.system.printable import name_some

# Units of this share of their class's part of a fold, or less, can be dealt out like single images.
_SMALL_SHARE = 0.02


def assign_folds(
    labels: np.ndarray, units: np.ndarray, n_folds: int, seed: int, class_names: list[str]
) -> np.ndarray:
    """The fold of each image.

    Args:
        labels: int `(n_rows,)`, indices into `class_names`.
        units: int `(n_rows,)`; images of one number are never divided.
        n_folds: at least 2.
        seed: decides which images.

    Returns:
        int64 `(n_rows,)`, 0 to `n_folds - 1`.

    Raises:
        SplitError: a class has too few different images (or groups) for so many folds, or they
            are shared with others so that a fold holds all of a class.
    """
    _require_enough(labels, units, n_folds, class_names)
    folds = _deal(labels, units, n_folds, seed)
    _require_training_images(labels, folds, n_folds, class_names)
    return folds


def hold_some_out(labels: np.ndarray, units: np.ndarray, n_parts: int, seed: int) -> np.ndarray:
    """Which images choose while the others train: one part of so many, bool `(n_rows,)`.

    A class of which no image would be left to train keeps all of its images there.
    """
    n_parts = _limit_parts(labels, units, n_parts)
    if n_parts < 2:
        return np.zeros(len(labels), bool)
    return _spare_lacking(_deal(labels, units, n_parts, seed) == 0, labels, units)


def hold_out_in_turn(
    labels: np.ndarray, units: np.ndarray, n_parts: int, seed: int
) -> Iterator[np.ndarray]:
    """One part after another, bool `(n_rows,)`; a class keeps what it cannot do without."""
    n_parts = _limit_parts(labels, units, n_parts)
    if n_parts < 2:
        return
    parts = _deal(labels, units, n_parts, seed)
    for number in range(n_parts):
        yield _spare_lacking(parts == number, labels, units)


def _limit_parts(labels: np.ndarray, units: np.ndarray, n_parts: int) -> int:
    """So many parts, or as many as the largest class can be dealt into."""
    return min(n_parts, int(_count_units(labels, units).max(initial=0)))


def _count_units(labels: np.ndarray, units: np.ndarray) -> np.ndarray:
    """How many different ones each class has, int64 `(n_classes,)`."""
    return np.bincount(np.unique(np.stack([labels, units]), axis=1)[0])


def _spare_lacking(is_held: np.ndarray, labels: np.ndarray, units: np.ndarray) -> np.ndarray:
    """Without the images of classes that would have none left to train on."""
    lacking = np.setdiff1d(labels, labels[~is_held])
    while lacking.size:
        is_held = is_held & ~np.isin(units, units[np.isin(labels, lacking)])
        lacking = np.setdiff1d(labels, labels[~is_held])
    return is_held


def _deal(labels: np.ndarray, units: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """By scikit-learn's splitters; the one for groups takes a step for each group and fold."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    firsts, places, sizes = np.unique(
        units, return_index=True, return_inverse=True, return_counts=True
    )[1:]
    of_unit = labels[firsts]
    is_pure = bool(np.all(of_unit[places] == labels))
    shares = np.bincount(labels)[of_unit] / n_folds
    folds = np.empty(len(labels), np.int64)
    with warnings.catch_warnings():
        # Of classes smaller than the number of folds, which are told of or meant here.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        if is_pure and np.all((sizes == 1) | (sizes <= _SMALL_SHARE * shares)):
            whole = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
            for number, (_, held) in enumerate(whole.split(of_unit, of_unit)):
                folds[np.isin(places, held)] = number
        else:
            grouped = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
            for number, (_, held) in enumerate(grouped.split(labels, labels, units)):
                folds[held] = number
    return folds


def _require_enough(
    labels: np.ndarray, units: np.ndarray, n_folds: int, class_names: list[str]
) -> None:
    counts = _count_units(labels, units)
    small = [class_names[number] for number in np.flatnonzero((counts > 0) & (counts < n_folds))]
    if small:
        fewest = int(counts[counts > 0].min())
        advice = f"Use fewer folds (`folds={fewest}`), or l" if fewest > 1 else "L"
        raise SplitError(
            f"{len(small):,} class(es) are too small for {n_folds} folds: {name_some(small)}. "
            f"Expected at least {n_folds} different images (or groups) of each. Received: "
            f"{fewest} of the smallest\n{advice}eave out such classes: "
            f"`frostline.fit_head(FEATURES, folds={n_folds}, drop_small={n_folds})`"
        )


def _require_training_images(
    labels: np.ndarray, folds: np.ndarray, n_folds: int, class_names: list[str]
) -> None:
    for number in range(n_folds):
        lacking = np.setdiff1d(labels, labels[folds != number]).tolist()
        if lacking or not np.any(folds == number):
            names = name_some([class_names[label] for label in lacking]) if lacking else "any class"
            raise SplitError(
                f"These groups cannot be divided into {n_folds} folds: without one of them no "
                f"image of {names} is left to train on. Expected groups of which each class is "
                "in several. Received: groups (or equal images) shared by classes\n"
                "Try another `seed` or fewer folds."
            )
