"""What is to be said of a division of images: equal ones, groups, small classes, idle options."""

from collections.abc import Collection

import numpy as np

from pipeline.features.options import SplitOptions
from pipeline.features.spread.shards import ShardRecord
from pipeline.images.splits import SPLITS, TEST, VAL
from pipeline.system.printable import count, name_some, printable, visible

_N_SHOWN = 5
_FEW_IMAGES = 5  # with fewer, one image more or less right moves a recall by over a fifth
_N_CLASSES_SHOWN = 3


def describe_small_classes(
    n_images: np.ndarray, class_names: list[str], split: str = "validation"
) -> list[str]:
    """Names the classes with so few images in a split that their scores mean little.

    Args:
        n_images: in the split, of each class, int (n_classes,).
        split: in a word for people.
    """
    small = [label for label, n in enumerate(n_images.tolist()) if n < _FEW_IMAGES]
    if not small:
        return []
    shown = ", ".join(
        f"{visible(class_names[label])} ({n_images[label]})" for label in small[:_N_CLASSES_SHOWN]
    )
    more = len(small) - _N_CLASSES_SHOWN
    rest = f" and {more:,} more" if more > 0 else ""
    return [f"Fewer than {_FEW_IMAGES} {split} images, so their scores mean little: {shown}{rest}."]


def describe_shard(record: ShardRecord | None, n_images: int) -> list[str]:
    """Says of a file that holds a part of a data set that it does.

    Args:
        record: of the file; None where it is no shard.
        n_images: that have features in it.
    """
    if record is None:
        return []
    return [
        f"This is shard {record.shard} of a data set: {len(record.images):,} images, of which "
        f"{n_images:,} are here. `frostline.merge(SHARDS)` makes one file of all shards."
    ]


def describe_dropped(
    drop_small: int, class_names: list[str], is_kept: np.ndarray, labels: np.ndarray
) -> str:
    """Names the classes that are left out.

    Args:
        is_kept: bool (n_classes,).
        labels: int32 (n_samples,), -1 = none.
    """
    names = [name for name, keep in zip(class_names, is_kept.tolist(), strict=True) if not keep]
    if not names:
        return f"`drop_small={drop_small}` leaves no class out: none is so small."
    n_images = int(np.isin(labels, np.flatnonzero(~is_kept)).sum())
    if len(names) == 1:
        what, whose = "1 class is left out, with", "its"
    else:
        what, whose = f"{len(names):,} classes are left out, each with", "their"
    return (
        f"{what} fewer than {drop_small} different images: {name_some(names)}; {whose} "
        f"{count(n_images, 'image')} {'counts' if n_images == 1 else 'count'} as without a label."
    )


def describe_emptied(
    counts: np.ndarray, made: Collection[int], class_names: list[str]
) -> list[str]:
    """Names the classes that have no image in a split that was made.

    Args:
        counts: images per class and split, int (n_classes, 3).
        made: the splits that the source does not give.
    """
    notes = []
    for split in made:
        names = [class_names[i] for i in np.flatnonzero((counts[:, split] == 0) & counts.any(1))]
        if names:
            notes.append(
                f"No {SPLITS[split]} image is left of {name_some(names)}: those that were are gone "
                "or have another class now, and no other image changes its split for that. Add "
                "images, or try another `seed`."
            )
    return notes


def describe_groups(groups: list[str | None]) -> str:
    """How many images are in groups, and how many in none."""
    n_groups = len(set(groups) - {None})
    n_alone = groups.count(None)
    alone = f"; {n_alone:,} match nothing and stand for themselves" if n_alone else ""
    return f"{len(groups) - n_alone:,} images are in {n_groups:,} groups{alone}."


def describe_equal_images(equal_images: dict[str, list[list[str]]]) -> list[str]:
    """Names images that are there more than once, the most harmful first."""
    across, labels = equal_images["different_given_splits"], equal_images["different_labels"]
    others = [paths for paths in equal_images["all"] if paths not in across + labels]
    return [
        *describe_sets(
            across,
            ("image lies", "images lie"),
            "in more than one of the splits that the source gives, so the scores flatter",
        ),
        *describe_sets(
            labels,
            ("image has", "images have"),
            "more than one label, and at most one can be right",
        ),
        *describe_sets(
            others,
            ("image is", "images are"),
            "there more than once; equal images always share a split that is made here",
        ),
    ]


def describe_sets(sets: list[list[str]], who: tuple[str, str], what: str) -> list[str]:
    """The paths of images that are one: some sets of them, and how many more there are.

    Args:
        who: one set of them and several, with the verb, such as `image is` and `images are`.
        what: is to be said of them.
    """
    if not sets:
        return []
    shown = "".join(f"\n  {' = '.join(map(printable, paths))}" for paths in sets[:_N_SHOWN])
    more = len(sets) - _N_SHOWN
    rest = f"\n  and {more:,} more: manifest.json lists all under equal_images" if more > 0 else ""
    return [f"{len(sets):,} {who[len(sets) > 1]} {what}:{shown}{rest}"]


def describe_idle_options(
    options: SplitOptions, asked: Collection[str], made: Collection[int]
) -> list[str]:
    """Names the options that were given and change nothing, since the source gives the splits.

    Args:
        asked: names of the options that were given.
        made: the splits that the source does not give.
    """
    notes = [
        f"`{name}={getattr(options, name)}` changes nothing: the data set itself says which images "
        f"are {SPLITS[split]}."
        for name, split in (("val_fraction", VAL), ("test_fraction", TEST))
        if name in asked and getattr(options, name) > 0 and split not in made
    ]
    if made:
        return notes
    if "split_rule" in asked and options.split_rule is not None:
        notes.append(
            f"`split_rule={options.split_rule}` changes nothing: the data set itself says which "
            "image is in which split."
        )
    if "group_by" in asked and options.group_by is not None:
        notes.append(
            "`group_by` moves no image: the data set itself says which image is in which split. It "
            "only finds groups that lie in more than one."
        )
    return notes
