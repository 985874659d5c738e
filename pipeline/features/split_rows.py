"""How the images of a feature file are divided into train, val and test."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from pipeline.errors import SplitError
from pipeline.features.entries import NEVER
from pipeline.features.feature_file import Contents
from pipeline.features.options import SplitOptions
from pipeline.features.split_notes import (
    describe_dropped,
    describe_emptied,
    describe_equal_images,
    describe_groups,
    describe_idle_options,
    describe_sets,
    describe_shard,
)
from pipeline.images.division import (
    assign_splits,
    find_missing_splits,
    is_divisible,
    require_training_images,
)
from pipeline.images.exact_rule import Roster
from pipeline.images.groups import find_groups, make_group_keys
from pipeline.images.splits import (
    NO_SPLIT,
    SPLITS,
    UNLABELLED,
    find_conflicts,
    find_equal_images,
    find_straddlers,
)
from pipeline.images.together import join_units, keep_together
from pipeline.system.printable import count


@dataclass(frozen=True)
class Division:
    """Splits, what to say of them, and what the manifest keeps.

    Args:
        splits: int8 (n_samples,): 0 train, 1 val, 2 test, -1 for images without a label.
        notes: sentences for people.
        facts: rule, seed, fractions, counts, and whether the source gave splits.
        equal_images: paths of images that are there more than once, a list per image: all of
            them, those with different labels, those in different given splits.
        made: numbers of the splits that were made, since the source does not give them.
        units: int (n_samples,), equal for images that are never divided: equal ones, those of one
            group.
    """

    splits: np.ndarray
    notes: list[str]
    facts: dict
    equal_images: dict[str, list[list[str]]]
    made: frozenset[int]
    units: np.ndarray


def divide_images(
    contents: Contents,
    options: SplitOptions,
    *,
    asked: Collection[str] = (),
    near_duplicates: Mapping[bytes, str] | None = None,
) -> Division:
    """Divides the images of a feature file.

    Args:
        options: how; `drop_small` has been done by `drop_small_classes`.
        asked: names of those options that were given, to be told of where they change nothing.
        near_duplicates: group by digest, of images that are to share a split; None where nothing is
            known of such, or they need not.

    Raises:
        SplitError: a class is too small, fractions make no sense, or no path has a group.
    """
    digests, given, labels = contents.images.digests, contents.splits, contents.labels
    rule = contents.split_rule if options.split_rule is None else options.split_rule
    fractions = {
        "val_fraction": options.val_fraction,
        "test_fraction": options.test_fraction,
    }
    keys, groups = _find_keys(contents, options.group_by)
    splits = assign_splits(
        keys[: len(digests)],
        labels,
        given,
        contents.class_names,
        rule=rule,
        arrivals=contents.arrivals,
        roster=_list_all(contents, keys),
        seed=options.seed,
        has_groups=groups is not None,
        **fractions,
    )
    made = find_missing_splits(labels, given, **fractions)
    units = np.unique(keys[: len(digests)], axis=0, return_inverse=True)[1].ravel()
    alike = _gather(contents, splits, units, near_duplicates or {}, is_made=bool(made))
    splits, units = alike.splits, alike.units
    counts = count_images(splits, labels, len(contents.class_names))
    notes = [
        *describe_shard(contents.shard, len(digests)),
        *([] if groups is None else [describe_groups(groups)]),
        *describe_emptied(counts, made, contents.class_names),
    ]
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
    notes += describe_equal_images(equal_images)
    if groups is not None:
        straddlers = find_straddlers(keys[: len(digests)], given)
        notes += describe_sets(
            [[paths[row] for row in rows] for rows in straddlers],
            ("group lies", "groups lie"),
            "in more than one of the splits that the source gives, so the scores flatter",
        )
    notes += [*alike.notes, *describe_idle_options(options, asked, made)]
    facts = {
        "rule": rule,
        "seed": options.seed,
        **fractions,
        "group_by": options.group_by,
        "n_groups": None if groups is None else len(set(groups) - {None}),
        "given": sorted({SPLITS[split] for split in given.tolist() if split != NO_SPLIT}),
        "n_images": {name: int(np.sum(splits == split)) for split, name in enumerate(SPLITS)},
        "n_near_duplicate_groups": None if near_duplicates is None else alike.n_groups,
        "n_near_duplicates_moved": alike.n_moved,
    }
    return Division(splits, notes, facts, equal_images, frozenset(made), units)


@dataclass(frozen=True)
class _Gathered:
    """A division in which near duplicates are on one side."""

    splits: np.ndarray
    units: np.ndarray
    n_groups: int
    n_moved: int
    notes: list[str]


def _gather(
    contents: Contents,
    splits: np.ndarray,
    units: np.ndarray,
    group_of: Mapping[bytes, str],
    *,
    is_made: bool,
) -> _Gathered:
    """Brings near duplicates together, where the source does not say where they belong."""
    digests, labels = contents.images.digests, contents.labels
    here = {digest.tobytes() for digest in digests} & group_of.keys()
    if not here:
        return _Gathered(splits, units, 0, 0, [])
    joined = join_units(units, digests, group_of)
    together, moved = keep_together(
        splits, joined, digests, contents.arrivals, is_divisible(labels, contents.splits)
    )
    require_training_images(together, labels, contents.class_names, is_made=is_made)
    groups = [
        rows
        for rows in find_straddlers(joined.astype(np.int64)[:, None], together)
        if any(digests[row].tobytes() in here for row in rows)
    ]
    n_groups = len({group_of[digest] for digest in here})
    paths = contents.images.paths
    notes = [
        f"{count(n_groups, 'group')} of near duplicates, by the audit of these features: each "
        f"shares a split that is made here, for which {count(len(moved), 'image')} moved.",
        *describe_sets(
            [[paths[row] for row in rows] for rows in groups],
            ("group of near duplicates lies", "groups of near duplicates lie"),
            "in more than one of the splits that the source gives, so the scores flatter",
        ),
    ]
    return _Gathered(together, joined, n_groups, len(moved), notes)


def _find_keys(
    contents: Contents, group_by: str | None
) -> tuple[np.ndarray, list[str | None] | None]:
    """Keys of the images that are there and then of those that are gone; groups of the former.

    Images of one key share a split.
    """
    gone = contents.known_entries.gone
    digests = np.concatenate([contents.images.digests, gone.digests])
    if group_by is None:
        return digests, None
    groups = find_groups(contents.images.paths, group_by, gone=gone.paths)
    return make_group_keys(digests, groups), groups[: len(contents.images)]


def _list_all(contents: Contents, keys: np.ndarray) -> Roster:
    """The images that were ever to be divided; those that are there first."""
    entries = contents.known_entries
    digests = np.concatenate([contents.images.digests, entries.gone.digests])
    classes = np.concatenate([entries.classes, entries.gone.classes])
    arrivals = np.concatenate([entries.arrivals, entries.gone.arrivals])
    rows = np.flatnonzero(classes != NEVER)
    return Roster(keys[rows], digests[rows], classes[rows], arrivals[rows], entries.class_names)


def drop_small_classes(contents: Contents, options: SplitOptions) -> tuple[Contents, list[str]]:
    """Takes the labels from images of classes with fewer units than `drop_small`.

    Units are different images (groups, with `group_by`) that are in no given val or test.

    Returns:
        The contents without such classes, and what is to be said.

    Raises:
        SplitError: fewer than two classes are left.
    """
    if options.drop_small == 0:
        return contents, []
    keys, _ = _find_keys(contents, options.group_by)
    labels, names = contents.labels, contents.class_names
    units: list[set[bytes]] = [set() for _ in names]
    for row in np.flatnonzero(is_divisible(labels, contents.splits)).tolist():
        units[labels[row]].add(keys[row].tobytes())
    is_kept = np.array([len(one) >= options.drop_small for one in units] + [False])
    numbers = np.where(is_kept, np.cumsum(is_kept) - 1, UNLABELLED).astype(np.int32)
    kept = [name for name, keep in zip(names, is_kept, strict=False) if keep]
    if len(kept) < 2 <= len(names):
        raise SplitError(
            f"Too few classes are left. Expected two or more with {options.drop_small} "
            f"{'different images' if options.group_by is None else 'groups'}. Received: "
            f"{len(kept)} of {len(names):,} classes with `drop_small={options.drop_small}`"
        )
    note = describe_dropped(options.drop_small, names, is_kept[:-1], labels)
    return replace(contents, labels=numbers[labels], class_names=kept), [note]


def count_images(splits: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Images per class and split, int (n_classes, 3)."""
    counts = np.zeros((n_classes, len(SPLITS)), int)
    is_counted = (splits != NO_SPLIT) & (labels >= 0)
    np.add.at(counts, (labels[is_counted], splits[is_counted]), 1)
    return counts
