"""Which images were ever to be divided into splits: when each came, and of which class it was then.

The feature file keeps this, also of images that are gone, so that no division moves an image
because others came, went, were renamed or put into another class.
"""

from collections import defaultdict
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


def enter_images(
    images: LabelledImages, now: int, old: Entries | None, old_images: LabelledImages | None
) -> Entries:
    """The entries after an extraction: what was known stays, what is new is added.

    Args:
        now: number of the extraction.
        old: entries of the file so far, None for a new file.
        old_images: its images.
    """
    known: dict[tuple[bytes, str], tuple[int, str]] = {}  # (digest, class): arrival, last path
    if old is not None and old_images is not None:
        gone = old.gone
        _remember(known, old, gone.digests, gone.classes, gone.arrivals, gone.paths)
        _remember(known, old, old_images.digests, old.classes, old.arrivals, old_images.paths)
    classes_of: dict[bytes, list[str]] = defaultdict(list)
    for digest, name in known:
        classes_of[digest].append(name)
    present = [digest.tobytes() for digest in images.digests]
    names = [images.class_names[label] if label >= 0 else "" for label in images.labels.tolist()]
    for row in np.flatnonzero(is_divisible(images.labels, images.splits)).tolist():
        if present[row] not in classes_of:
            known.setdefault((present[row], names[row]), (now, images.paths[row]))
    for digest, name in known:
        if name not in classes_of[digest]:
            classes_of[digest].append(name)
    found: list[tuple[bytes, str] | None] = []
    for digest, name in zip(present, names, strict=True):
        came_as = classes_of.get(digest)
        if came_as is None:
            found.append(None)
        else:  # it keeps the class in which it came, whatever it is called now
            found.append((digest, name if name in came_as else min(came_as)))
    return _tabulate(known, found)


def _tabulate(
    known: dict[tuple[bytes, str], tuple[int, str]], found: list[tuple[bytes, str] | None]
) -> Entries:
    """Entries of the images that are there; the others that are known are gone.

    Args:
        known: of a digest and a class the arrival and the last path.
        found: of each image that is there its key in `known`; None for one that is not known.
    """
    gone = sorted(known.keys() - set(found))
    names = sorted({name for _, name in known})
    number_of = {name: number for number, name in enumerate(names)}
    return Entries(
        names,
        np.array([NEVER if key is None else number_of[key[1]] for key in found], np.int32),
        np.array([NEVER if key is None else known[key][0] for key in found], np.int32),
        GoneImages(
            [known[key][1] for key in gone],
            np.frombuffer(b"".join(digest for digest, _ in gone), np.uint8).reshape(-1, 32),
            np.array([number_of[name] for _, name in gone], np.int32),
            np.array([known[key][0] for key in gone], np.int32),
        ),
    )


def _remember(
    known: dict[tuple[bytes, str], tuple[int, str]],
    old: Entries,
    digests: np.ndarray,
    classes: np.ndarray,
    arrivals: np.ndarray,
    paths: list[str],
) -> None:
    for row in np.flatnonzero(classes != NEVER).tolist():
        key = digests[row].tobytes(), old.class_names[classes[row]]
        known.setdefault(key, (int(arrivals[row]), paths[row]))


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
