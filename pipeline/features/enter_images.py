"""Enters the images of an extraction among those that were ever to be divided into splits."""

from dataclasses import dataclass

import numpy as np

from pipeline.features.entries import NEVER, Entries, GoneImages, LabelledImages
from pipeline.images.division import is_divisible


def enter_images(
    images: LabelledImages, now: int, old: Entries | None, old_images: LabelledImages | None
) -> Entries:
    """The entries after an extraction: what was known stays, what is new is added.

    An image is known by its digest, in the class in which it came, whatever it is called now. Of
    those in which equal images came, it is the one that it is called by, or the first by name.

    Args:
        now: number of the extraction.
        old: entries of the file so far, None for a new file.
        old_images: its images.
    """
    known = [] if old is None or old_images is None else _list_known(old, old_images)
    everything = _join([*known, _list_found(images, now)])
    n_old = len(everything.paths) - len(images.paths)
    places = np.unique(everything.digests.view("V32").ravel(), return_inverse=True)[1]
    # An image that is known by its digest comes in no class anew.
    known_places = places[:n_old][everything.is_entry[:n_old]]
    everything.is_entry[n_old:] &= ~np.isin(places[n_old:], known_places)

    n_classes = len(everything.class_names) + 1
    keys = places * n_classes + everything.classes
    entered = np.flatnonzero(everything.is_entry)
    table, firsts = np.unique(keys[entered], return_index=True)
    found = _find_entries(table, keys[n_old:], n_classes)

    used, classes = np.unique(table % n_classes, return_inverse=True)
    arrivals = everything.arrivals[entered[firsts]]
    gone = np.setdiff1d(np.arange(len(table)), found)
    gone_rows = entered[firsts[gone]]
    return Entries(
        [everything.class_names[number] for number in used.tolist()],
        _pick(classes, found),
        _pick(arrivals, found),
        GoneImages(
            [everything.paths[row] for row in gone_rows.tolist()],
            everything.digests[gone_rows],
            classes[gone].astype(np.int32),
            arrivals[gone].astype(np.int32),
        ),
    )


@dataclass(frozen=True)
class _Mentions:
    """Images as they were named; arrays of a row for each.

    Args:
        class_names: in any order; in alphabetical order once joined.
        classes: index into them, -1 = none; once joined, their number = none.
        arrivals: number of the extraction in which each came.
        is_entry: whether it was to be divided then.
    """

    paths: list[str]
    digests: np.ndarray
    class_names: list[str]
    classes: np.ndarray
    arrivals: np.ndarray
    is_entry: np.ndarray


def _list_found(images: LabelledImages, now: int) -> _Mentions:
    arrivals = np.full(len(images.paths), now)
    is_entry = is_divisible(images.labels, images.splits)
    return _Mentions(
        images.paths, images.digests, images.class_names, images.labels, arrivals, is_entry
    )


def _list_known(old: Entries, images: LabelledImages) -> list[_Mentions]:
    """Those that were gone, then those that were there: the first says when an image came."""
    return [
        _Mentions(paths, digests, old.class_names, classes, arrivals, classes != NEVER)
        for paths, digests, classes, arrivals in (
            (old.gone.paths, old.gone.digests, old.gone.classes, old.gone.arrivals),
            (images.paths, images.digests, old.classes, old.arrivals),
        )
    ]


def _join(tables: list[_Mentions]) -> _Mentions:
    """One after the other, with one numbering of the classes."""
    names = sorted({name for table in tables for name in table.class_names})
    number_of = {name: number for number, name in enumerate(names)}
    # The last takes what has no class, whose index is -1.
    numbers = [[*map(number_of.get, table.class_names), len(names)] for table in tables]
    return _Mentions(
        [path for table in tables for path in table.paths],
        np.concatenate([table.digests.reshape(-1, 32) for table in tables]),
        names,
        np.concatenate(
            [np.array(of)[table.classes] for of, table in zip(numbers, tables, strict=True)]
        ),
        np.concatenate([table.arrivals for table in tables]),
        np.concatenate([table.is_entry for table in tables]),
    )


def _find_entries(table: np.ndarray, keys: np.ndarray, n_classes: int) -> np.ndarray:
    """Where in the table the entry of each image is, -1 = it has none.

    Args:
        table: of each entry `place * n_classes + class`, sorted.
        keys: the same of the images that are asked for.
    """
    places = keys // n_classes
    ended = np.append(table, -1)  # no key, and of no place
    exact, first = np.searchsorted(table, keys), np.searchsorted(table, places * n_classes)
    of_place = np.where(ended[first] // n_classes == places, first, -1)
    return np.where(ended[exact] == keys, exact, of_place)


def _pick(values: np.ndarray, found: np.ndarray) -> np.ndarray:
    return np.append(values, NEVER)[found].astype(np.int32)
