"""The images that a probe tries backbones on: a sample of those that train, class by class."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import SplitError
from pipeline.features.identify import identify_images
from pipeline.features.near_duplicate_list import SUFFIX, read_list
from pipeline.features.options import SplitOptions
from pipeline.images.dataset import Dataset
from pipeline.images.decoding.read_images import DEFAULT_LIMITS
from pipeline.images.division import assign_splits, is_divisible
from pipeline.images.groups import find_groups, make_group_keys
from pipeline.images.split_rules import EXACT
from pipeline.images.splits import TEST, UNLABELLED
from pipeline.images.together import join_units
from pipeline.system.progress import OnProgress

# Of fewer images a class has too few neighbours to be told apart by; where there are many classes
# some of them stand for all.
_LEAST_PER_CLASS = 5


@dataclass(frozen=True)
class Sample:
    """Images in the order in which they are embedded; any first so many have the classes' shares.

    Args:
        rows: int64 `(n,)`, numbers of rows of the data set.
        digests: uint8 `(n, 32)`, each another.
        labels: int `(n,)`, indices into `class_names`.
        units: int `(n,)`, equal for images that are left out together: those of one group, and
            near duplicates that an audit found.
        class_names: those that are in the sample.
    """

    rows: np.ndarray
    digests: np.ndarray
    labels: np.ndarray
    units: np.ndarray
    class_names: list[str]

    def __len__(self) -> int:
        return len(self.rows)


def draw_sample(
    dataset: Dataset,
    n_most: int,
    how: SplitOptions,
    lists_folder: Path,
    on_progress: OnProgress,
    on_note: Callable[[str], None],
) -> Sample:
    """Draws the images, and reads them to know which are equal.

    None is in a val or test split that the source gives, nor in the test split that
    `how.test_fraction` sets aside.

    Args:
        n_most: images.
        how: how the images will be divided; groups are kept together.
        lists_folder: where audits of this data set's features may have left lists of near
            duplicates.

    Raises:
        SplitError: fewer than two classes with two images each, or a division that cannot be.
    """
    may_train = is_divisible(dataset.labels, dataset.splits)
    if how.test_fraction > 0:
        may_train &= ~_set_aside(dataset, how, on_progress)
    order = _order(dataset, np.flatnonzero(may_train), n_most, how.seed, on_note)
    drawn = dataset.of_rows(order, "")
    identity = identify_images(
        drawn, None, rehash=True, limits=DEFAULT_LIMITS, retry=lambda reason: True,
        on_progress=on_progress,
    )  # fmt: skip
    firsts: dict[bytes, int] = {}
    for place, digest in enumerate(identity.digests):
        if place not in identity.reasons:
            firsts.setdefault(digest.tobytes(), place)
    places = np.array(sorted(firsts.values()), np.int64)
    numbers, labels = np.unique(dataset.labels[order[places]], return_inverse=True)
    if len(numbers) < 2:
        raise _too_few(dataset, len(numbers))
    digests = identity.digests[places]
    units = _find_units([drawn.paths[place] for place in places.tolist()], digests, how)
    near = _read_near_duplicates(dataset.name, lists_folder)
    names = [dataset.class_names[number] for number in numbers.tolist()]
    return Sample(order[places], digests, labels, join_units(units, digests, near), names)


def _set_aside(dataset: Dataset, how: SplitOptions, on_progress: OnProgress) -> np.ndarray:
    """Which images `frostline.fit_head` will test on, bool (n_samples,); all are read for that."""
    identity = identify_images(
        dataset, None, rehash=True, limits=DEFAULT_LIMITS, retry=lambda reason: True,
        on_progress=on_progress,
    )  # fmt: skip
    usable = np.setdiff1d(np.arange(len(dataset)), list(identity.reasons))
    keys = identity.digests[usable]
    if how.group_by is not None:
        paths = [dataset.paths[row] for row in usable.tolist()]
        keys = make_group_keys(keys, find_groups(paths, how.group_by))
    splits = assign_splits(
        keys,
        dataset.labels[usable],
        dataset.splits[usable],
        dataset.class_names,
        rule=how.split_rule or EXACT,
        val_fraction=how.val_fraction,
        test_fraction=how.test_fraction,
        seed=how.seed,
        has_groups=how.group_by is not None,
    )
    is_test = np.ones(len(dataset), bool)  # what cannot be read is not drawn either
    is_test[usable] = splits == TEST
    return is_test


def _order(
    dataset: Dataset, rows: np.ndarray, n_most: int, seed: int, on_note: Callable[[str], None]
) -> np.ndarray:
    """The rows to embed, in their order: those of a class at random, the classes in turn."""
    labels = dataset.labels[rows]
    counts = np.bincount(labels[labels != UNLABELLED], minlength=len(dataset.class_names))
    classes = np.flatnonzero(counts >= 2)
    if len(classes) < 2:
        raise _too_few(dataset, len(classes))
    n_classes = max(2, n_most // _LEAST_PER_CLASS)
    if len(classes) > n_classes:
        on_note(f"{n_classes:,} of {len(classes):,} classes, drawn at random, stand for all.")
        by_hash = sorted(classes.tolist(), key=lambda one: _hash(dataset.class_names[one], seed))
        classes = np.sort(np.array(by_hash[:n_classes]))
    share = min(1.0, n_most / counts[classes].sum())
    keyed: list[tuple[float, str, int]] = []
    for label in classes.tolist():
        of_class = rows[labels == label].tolist()
        drawn = sorted(of_class, key=lambda row: _hash(dataset.paths[row], seed))
        quota = min(len(drawn), max(_LEAST_PER_CLASS, round(share * len(drawn))))
        keyed += [
            ((place + 0.5) / quota, _hash(dataset.paths[row], seed), row)
            for place, row in enumerate(drawn[:quota])
        ]
    return np.array([row for _, _, row in sorted(keyed)[:n_most]], np.int64)


def _hash(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} ".encode() + os.fsencode(name)).hexdigest()


def _find_units(paths: list[str], digests: np.ndarray, how: SplitOptions) -> np.ndarray:
    if how.group_by is None:
        return np.arange(len(paths))
    keys = make_group_keys(digests, find_groups(paths, how.group_by))
    units: np.ndarray = np.unique(keys, axis=0, return_inverse=True)[1].ravel()
    return units


def _read_near_duplicates(name: str, folder: Path) -> dict[bytes, str]:
    """The groups that audits of features of this data set found; of an image the first one's."""
    group_of: dict[bytes, str] = {}
    for path in sorted(folder.glob(f"*.h5{SUFFIX}")):
        if path.name.startswith(f"{name}-"):
            found = read_list(path.with_name(path.name.removesuffix(SUFFIX))) or {}
            for digest, group in found.items():
                group_of.setdefault(digest, f"{path.name} {group}")
    return group_of


def _too_few(dataset: Dataset, n_classes: int) -> SplitError:
    return SplitError(
        "There is nothing to tell apart. Expected two classes or more with two different training "
        f"images each. Received: {n_classes} of {len(dataset.class_names):,} classes in "
        f"{dataset.source}"
    )
