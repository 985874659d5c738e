"""Which images were ever to be divided into splits: when each came, and of which class it was then.

The feature file keeps this, also of images that are gone, so that no division moves an image
because others came, went, were renamed or put into another class.
"""

from dataclasses import dataclass

import h5py
import numpy as np

from pipeline.images.division import is_divisible
from pipeline.images.split_rules import CHANCE, RULES
from pipeline.system.hdf5_tables import read_strings, write_strings

NEVER = -1  # in the place of a class or an arrival: no label yet, or only ever a given val or test


@dataclass(frozen=True)
class GoneImages:
    """Images that were to be divided and are no longer there; arrays of `n_gone` rows."""

    paths: list[str]  # the last that each had
    digests: np.ndarray  # uint8 (n_gone, 32)
    classes: np.ndarray  # int32
    arrivals: np.ndarray  # int32


@dataclass(frozen=True)
class Entries:
    """When each image was first to be divided, and in which class.

    Args:
        class_names: all that classes were ever called.
        classes: int32 (n_samples,), index into them; -1 = never yet.
        arrivals: int32 (n_samples,), number of the extraction; -1 = never yet.
        gone: the same of images that are no longer there.
    """

    class_names: list[str]
    classes: np.ndarray
    arrivals: np.ndarray
    gone: GoneImages


@dataclass(frozen=True)
class LabelledImages:
    """What an extraction finds: arrays of `n_samples` rows.

    Args:
        labels: int32, index into `class_names`, -1 = none.
        splits: int8, what the source says, -1 = nothing.
    """

    paths: list[str]
    digests: np.ndarray
    labels: np.ndarray
    splits: np.ndarray
    class_names: list[str]


def enter_all(images: LabelledImages, arrivals: np.ndarray) -> Entries:
    """The entries of a file without such: each image came as what it is now.

    Args:
        arrivals: int32 (n_samples,), number of the extraction that first saw the image.
    """
    is_entered = is_divisible(images.labels, images.splits)
    nobody = GoneImages([], np.zeros((0, 32), np.uint8), np.zeros(0, np.int32), np.zeros(0, int))
    return Entries(
        images.class_names,
        np.where(is_entered, images.labels, NEVER).astype(np.int32),
        np.where(is_entered, arrivals, NEVER).astype(np.int32),
        nobody,
    )


def write_entries(file: h5py.File, entries: Entries) -> None:
    """Writes the group `entry`."""
    group = file.create_group("entry")
    write_strings(group, "class_name", entries.class_names)
    group["class"] = entries.classes.astype(np.int32)
    group["arrival"] = entries.arrivals.astype(np.int32)
    gone = group.create_group("gone")
    write_strings(gone, "path", entries.gone.paths)
    gone["digest"] = entries.gone.digests
    gone["class"] = entries.gone.classes.astype(np.int32)
    gone["arrival"] = entries.gone.arrivals.astype(np.int32)


def read_entries(file: h5py.File, labels: np.ndarray, splits: np.ndarray) -> Entries | None:
    """Reads the group `entry`; None for a file from before there was one.

    Args:
        labels, splits: the columns of the same file.

    Raises:
        ValueError: it does not fit the file, so the file is damaged.
    """
    if "entry" not in file:
        return None
    group, gone = file["entry"], file["entry/gone"]
    entries = Entries(
        read_strings(group["class_name"]),
        group["class"][:],
        group["arrival"][:],
        GoneImages(
            read_strings(gone["path"]), gone["digest"][:], gone["class"][:], gone["arrival"][:]
        ),
    )
    _require_sense(entries, is_divisible(labels, splits))
    return entries


def read_split_rule(file: h5py.File) -> str:
    """The rule by which splits are made; files from before there were several name none.

    Raises:
        ValueError: there is no such rule.
    """
    rule = file.attrs.get("split_rule", CHANCE)
    if not isinstance(rule, str) or rule not in RULES:
        raise ValueError(f"split_rule is {rule!r} and should be one of {', '.join(RULES)}")
    return rule


def _require_sense(entries: Entries, is_divided: np.ndarray) -> None:
    gone, n_classes = entries.gone, len(entries.class_names)
    for classes, arrivals in ((entries.classes, entries.arrivals), (gone.classes, gone.arrivals)):
        is_entered = classes != NEVER
        if np.any(classes < NEVER) or np.any(classes >= n_classes):
            raise ValueError("a class in entry has no name")
        if np.any((arrivals < 0) != ~is_entered):
            raise ValueError("an arrival in entry is missing")
    if np.any(entries.classes[is_divided] == NEVER):
        raise ValueError("an image that is to be divided is missing in entry")
