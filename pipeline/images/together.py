"""Keeps near duplicates on one side of a division, and every other image where it is."""

from collections.abc import Mapping

import numpy as np

from pipeline.images.splits import NO_SPLIT


def join_units(units: np.ndarray, digests: np.ndarray, group_of: Mapping[bytes, str]) -> np.ndarray:
    """Units of which those with images of one group are one.

    Args:
        units: int `(n_samples,)`, equal for images that are never divided.
        digests: uint8 `(n_samples, 32)`.
        group_of: by digest, of the images that are in a group.

    Returns:
        int `(n_samples,)`.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows_of: dict[str, list[int]] = {}
    for row, digest in enumerate(digests):
        group = group_of.get(digest.tobytes())
        if group is not None:
            rows_of.setdefault(group, []).append(row)
    links = [(units[rows[0]], units[row]) for rows in rows_of.values() for row in rows[1:]]
    if not links:
        return units
    n_units = int(units.max()) + 1
    ends = np.array(links).T
    graph = coo_array((np.ones(len(links)), (ends[0], ends[1])), shape=(n_units, n_units))
    joined: np.ndarray = connected_components(graph, directed=False)[1][units]
    return joined


def keep_together(
    splits: np.ndarray,
    joined: np.ndarray,
    digests: np.ndarray,
    arrivals: np.ndarray,
    is_movable: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Moves images to the split of the first of those that belong to them.

    The first is that which came first, and of several the one with the smallest digest; so nothing
    that is added later moves it. Where some of them have a split that the source gives and that
    is not to be changed, they are left as they are.

    Args:
        splits: int8 `(n_samples,)`, as they were made.
        joined: int `(n_samples,)`, equal for images that belong together.
        digests: uint8 `(n_samples, 32)`.
        arrivals: int32 `(n_samples,)`, number of the extraction with which each image came.
        is_movable: bool `(n_samples,)`, whether its split was made, and may be changed.

    Returns:
        The splits, int8 `(n_samples,)`, and the row numbers that were moved.
    """
    fixed = set(joined[~is_movable & (splits != NO_SPLIT)].tolist())
    rows = np.flatnonzero(is_movable)
    order = sorted(rows.tolist(), key=lambda row: (arrivals[row], digests[row].tobytes()))
    first_of: dict[int, int] = {}
    together = splits.copy()
    for row in order:
        unit = int(joined[row])
        if unit not in fixed:
            together[row] = splits[first_of.setdefault(unit, row)]
    return together, np.flatnonzero(together != splits)
