"""Finds near duplicates: neighbours by their features, confirmed on their pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.features.feature_file import Contents
from pipeline.heads.audit.near_duplicates.calibrate import Limits, calibrate
from pipeline.heads.audit.near_duplicates.pictures import read_pictures
from pipeline.heads.audit.neighbours import Neighbours
from pipeline.heads.head import FeatureArray
from pipeline.images.same_picture.alignment import Picture, measure_likeness
from pipeline.system.parallel import count_cores, map_batches
from pipeline.system.progress import OnProgress

MOST_PAIRS = 5_000  # whose pictures are compared, the nearest first
_N_NEAREST = 5  # of each image
_FEWEST = 3  # different images
_PAIRS_PER_BATCH = 250  # whose pictures are in memory at once: 150 MB


@dataclass(frozen=True)
class Pair:
    """Two images that show one picture.

    Args:
        one, other: row numbers, the smaller first.
        likeness: of the pictures, up to 1.
    """

    one: int
    other: int
    likeness: float


@dataclass(frozen=True)
class NearDuplicates:
    """What was found.

    Args:
        pairs: of different files, the surest first.
        groups: row numbers, rising, of images that hang together by pairs, equal files among them.
        limits: by which it was found.
        n_candidates: pairs that were near enough by their features.
        n_compared: of which the pictures were compared.
    """

    pairs: list[Pair]
    groups: list[list[int]]
    limits: Limits
    n_candidates: int
    n_compared: int


def search_near_duplicates(
    features: FeatureArray,
    contents: Contents,
    neighbours: Neighbours,
    root: Path,
    seed: int,
    on_progress: OnProgress,
) -> NearDuplicates | None:
    """Looks for near duplicates among all images; None where there are fewer than three.

    Args:
        features: float32 `(n_samples, n_features)`.
        neighbours: of all images.
        root: folder that the paths are relative to.
        seed: decides by which images the limits are set.
    """
    if neighbours.rows.shape[1] < _FEWEST - 1:
        return None
    limits = calibrate(features, contents, neighbours, root, seed, on_progress)
    candidates = _list_candidates(contents.images.digests, neighbours, limits.cosine)
    compared = candidates[:MOST_PAIRS]
    pairs = []
    for start in range(0, len(compared), _PAIRS_PER_BATCH):
        some = compared[start : start + _PAIRS_PER_BATCH]
        alike = _compare(contents, root, some)
        pairs += [
            Pair(one, other, likeness)
            for (one, other), likeness in zip(some, alike, strict=True)
            if likeness >= limits.likeness
        ]
        on_progress("Comparing near pictures", start + len(some), len(compared))
    pairs.sort(key=lambda pair: (-pair.likeness, pair.one, pair.other))
    groups = _group(contents.images.digests, pairs)
    return NearDuplicates(pairs, groups, limits, len(candidates), len(compared))


def _list_candidates(
    digests: np.ndarray, neighbours: Neighbours, cosine: float
) -> list[tuple[int, int]]:
    """Pairs of different files whose features are near, the nearest first, each once."""
    firsts = np.sort(np.unique(digests, axis=0, return_index=True)[1])
    near = neighbours.cosines[firsts, :_N_NEAREST]
    from_place, rank = np.nonzero(near >= cosine)
    ones, others = firsts[from_place], neighbours.rows[firsts[from_place], rank]
    order = np.lexsort((others, ones, -near[from_place, rank]))
    ends = np.sort(np.stack([ones, others], axis=1)[order], axis=1)
    _, kept = np.unique(ends, axis=0, return_index=True)
    return [(one, other) for one, other in ends[np.sort(kept)].tolist()]


def _compare(contents: Contents, root: Path, pairs: Sequence[tuple[int, int]]) -> list[float]:
    """How alike the pictures of each pair are; -1 where one cannot be read."""
    rows = sorted({row for pair in pairs for row in pair})
    pictures: dict[int, Picture] = dict(read_pictures(contents, root, rows))

    def measure(pair: tuple[int, int]) -> float:
        one, other = pictures.get(pair[0]), pictures.get(pair[1])
        return -1.0 if one is None or other is None else measure_likeness(one, other)

    return list(map_batches(measure, pairs, count_cores()))


def _group(digests: np.ndarray, pairs: Sequence[Pair]) -> list[list[int]]:
    """Images that hang together by pairs or by being equal, without sets of equal ones alone."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not pairs:
        return []
    images = np.unique(digests, axis=0, return_inverse=True)[1].ravel()
    n_images = int(images.max()) + 1
    ones = images[[pair.one for pair in pairs]]
    others = images[[pair.other for pair in pairs]]
    links = coo_array((np.ones(len(pairs)), (ones, others)), shape=(n_images, n_images))
    component = connected_components(links, directed=False)[1][images]
    members: dict[int, list[int]] = {int(component[pair.one]): [] for pair in pairs}
    for row, number in enumerate(component.tolist()):
        if number in members:
            members[number].append(row)
    return sorted(members.values())
