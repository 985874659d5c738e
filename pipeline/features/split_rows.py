"""How the images of a feature file are divided, and what is to be said about it."""

from dataclasses import dataclass

import numpy as np

from pipeline.features.feature_file import Contents
from pipeline.images.groups import find_groups, make_group_keys
from pipeline.images.splits import (
    NO_SPLIT,
    SPLITS,
    assign_splits,
    find_conflicts,
    find_equal_images,
    find_straddlers,
)
from pipeline.system.printable import printable

_N_SHOWN = 5
_FEW_VAL_IMAGES = 5  # with fewer, one image more or less right moves a recall by over a fifth
_N_CLASSES_SHOWN = 3


@dataclass(frozen=True)
class Division:
    """Splits, what to say of them, and what the manifest keeps.

    Args:
        splits: int8 (n_samples,): 0 train, 1 val, 2 test, -1 for images without a label.
        notes: sentences for people.
        facts: seed, fractions, counts, and whether the source gave splits.
        equal_images: paths of images that are there more than once, a list per image: all of
            them, those with different labels, those in different given splits.
    """

    splits: np.ndarray
    notes: list[str]
    facts: dict
    equal_images: dict[str, list[list[str]]]


def divide_images(
    contents: Contents,
    *,
    val_fraction: float = 0.2,
    test_fraction: float = 0.0,
    seed: int = 0,
    group_by: str | None = None,
) -> Division:
    """Divides the images of a feature file.

    Args:
        val_fraction, test_fraction: shares of the images, where the source gives no such split.
        seed: decides which.
        group_by: a regular expression that finds an image's group in its path, None = no groups.

    Raises:
        SplitError: a class is too small, fractions make no sense, or no path has a group.
    """
    digests, given = contents.images.digests, contents.splits
    keys, notes, n_groups = digests, [], None
    if group_by is not None:
        groups = find_groups(contents.images.paths, group_by)
        keys = make_group_keys(digests, groups)
        n_groups = len(set(groups) - {None})
        notes.append(_describe_groups(groups, n_groups))
    splits = assign_splits(
        keys,
        contents.labels,
        given,
        contents.class_names,
        arrivals=contents.arrivals,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
        seed=seed,
    )
    straddlers = find_straddlers(digests, given)
    rows_of = {
        "all": find_equal_images(digests),
        "different_labels": find_conflicts(digests, contents.labels),
        "different_given_splits": straddlers,
    }
    paths = contents.images.paths
    equal_images = {
        name: [[paths[row] for row in rows] for rows in sets] for name, sets in rows_of.items()
    }
    notes += _describe_equal_images(equal_images)
    if group_by is not None:
        sets = [[paths[row] for row in rows] for rows in find_straddlers(keys, given)]
        notes += _describe(
            sets, "group(s) lie in more than one of the splits that the source gives, so the "
            "scores flatter"
        )  # fmt: skip
    facts = {
        "seed": seed,
        "val_fraction": val_fraction,
        "test_fraction": test_fraction,
        "group_by": group_by,
        "n_groups": n_groups,
        "given": sorted({SPLITS[split] for split in given.tolist() if split != NO_SPLIT}),
        "n_images": {name: int(np.sum(splits == split)) for split, name in enumerate(SPLITS)},
    }
    return Division(splits, notes, facts, equal_images)


def count_images(splits: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Images per class and split, int (n_classes, 3)."""
    counts = np.zeros((n_classes, len(SPLITS)), int)
    is_counted = (splits != NO_SPLIT) & (labels >= 0)
    np.add.at(counts, (labels[is_counted], splits[is_counted]), 1)
    return counts


def describe_small_classes(n_val: np.ndarray, class_names: list[str]) -> list[str]:
    """Names the classes with so few validation images that their scores mean little.

    Args:
        n_val: validation images of each class, int (n_classes,).
    """
    small = [label for label, n in enumerate(n_val.tolist()) if n < _FEW_VAL_IMAGES]
    if not small:
        return []
    shown = ", ".join(
        f"{printable(class_names[label])} ({n_val[label]})" for label in small[:_N_CLASSES_SHOWN]
    )
    more = len(small) - _N_CLASSES_SHOWN
    rest = f" and {more:,} more" if more > 0 else ""
    return [
        f"Fewer than {_FEW_VAL_IMAGES} validation images, so their scores mean little: "
        f"{shown}{rest}."
    ]


def _describe_groups(groups: list[str | None], n_groups: int) -> str:
    n_alone = groups.count(None)
    alone = f"; {n_alone:,} match nothing and stand for themselves" if n_alone else ""
    return f"{len(groups) - n_alone:,} images are in {n_groups:,} groups{alone}."


def _describe_equal_images(equal_images: dict[str, list[list[str]]]) -> list[str]:
    return [
        *_describe(
            equal_images["different_given_splits"],
            "image(s) lie in more than one of the splits that the source gives, so the scores "
            "flatter",
        ),
        *_describe(
            equal_images["different_labels"],
            "image(s) have more than one label, and at most one can be right",
        ),
        *_describe(
            equal_images["all"],
            "image(s) are there more than once; equal images always share a split that is made "
            "here",
        ),
    ]


def _describe(sets: list[list[str]], what: str) -> list[str]:
    if not sets:
        return []
    shown = "".join(f"\n  {' = '.join(map(printable, paths))}" for paths in sets[:_N_SHOWN])
    more = len(sets) - _N_SHOWN
    rest = f"\n  and {more:,} more: manifest.json lists all under equal_images" if more > 0 else ""
    return [f"{len(sets):,} {what}:{shown}{rest}"]
