"""From when on two images are near duplicates: learnt from the user's own images, each time anew.

Two hundred of them are changed and embedded. How near the copies are to their originals says how
far to look; how alike their other near neighbours are, which are other pictures, says what is not
enough.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.backbones.weights.resolve import resolve_recorded_weights
from pipeline.errors import FrostlineError
from pipeline.features.embed import make_embedder
from pipeline.features.feature_file import Contents
from pipeline.heads.audit.near_duplicates.pictures import read_original, read_pixels
from pipeline.heads.audit.neighbours import Neighbours, to_directions
from pipeline.heads.head import FeatureArray
from pipeline.images.same_picture.alignment import SIDE, measure_likeness, prepare
from pipeline.images.same_picture.copies import CHANGES, make_copies
from pipeline.system.parallel import count_cores, map_batches
from pipeline.system.progress import OnProgress

FALSE_PAIRS = 5e-5  # of the pairs of different pictures that are compared
N_ORIGINALS = 200
LEAST_LIKENESS = 0.7  # a picture of which half is another one has less
FIXED_LIKENESS = 0.9  # where there are too few images to learn from
_LOST = 0.02  # of the copies of each change that may be out of reach
_FIRST_OTHER = 4  # nearer neighbours may be copies; farther ones hardly
_N_OTHERS = 3  # of each image
_TAIL = 0.1
_FEWEST_PAIRS = 60


@dataclass(frozen=True)
class Limits:
    """What two images must have to be near duplicates.

    Args:
        cosine: of their features, at least; -1 where the backbone could not be asked.
        likeness: of their pictures, at least.
        found: share of the changed copies that reach both, by change; empty where the backbone
            could not be asked.
        n_originals: how many images were changed.
        n_others: how many pairs of different pictures the limit of likeness was learnt from; 0
            where they were too few, and it is fixed.
        reason: why the backbone could not be asked; empty where it was.
    """

    cosine: float
    likeness: float
    found: dict[str, float]
    n_originals: int
    n_others: int
    reason: str = ""


def calibrate(
    features: FeatureArray,
    contents: Contents,
    neighbours: Neighbours,
    root: Path,
    seed: int,
    on_progress: OnProgress,
) -> Limits:
    """Learns the limits.

    Args:
        features: float32 `(n_samples, n_features)`.
        neighbours: of all images.
        root: folder that the paths are relative to.
        seed: decides which images are changed.
    """
    distinct = np.unique(contents.images.digests, axis=0, return_index=True)[1]
    drawn = np.random.default_rng(seed).permutation(np.sort(distinct))[:N_ORIGINALS]
    originals = sorted(drawn.tolist())
    likeness, n_others = _limit_likeness(contents, neighbours, root, originals, on_progress)
    try:
        changed = _embed_copies(contents, root, originals, on_progress)
    except FrostlineError as error:
        reason = str(error).partition("\n")[0]
        return Limits(-1.0, likeness, {}, 0, n_others, reason)
    if not changed.rows:
        return Limits(-1.0, likeness, {}, 0, n_others, "No image could be read")
    ours = to_directions(features[np.array(changed.rows)])
    cosines = {
        name: (ours * to_directions(copies)).sum(axis=1)
        for name, copies in changed.features.items()
    }
    limit = float(min(np.quantile(one, _LOST) for one in cosines.values()))
    found = {
        name: float(np.mean((cosines[name] >= limit) & (changed.likeness[name] >= likeness)))
        for name in CHANGES
    }
    return Limits(limit, likeness, found, len(changed.rows), n_others)


@dataclass(frozen=True)
class _Changed:
    """Copies of images, by change: their features and how alike they are to their originals."""

    rows: list[int]
    features: dict[str, np.ndarray]
    likeness: dict[str, np.ndarray]


def _embed_copies(
    contents: Contents, root: Path, originals: Sequence[int], on_progress: OnProgress
) -> _Changed:
    """Runs the backbone over changed copies.

    Raises:
        FrostlineError: its weights or its device are not at hand.
    """
    recipe = contents.recipe
    weights = resolve_recorded_weights(recipe, contents.weights_source)
    embed = make_embedder(recipe, weights, "auto", None)

    def work(row: int) -> tuple[np.ndarray, list[float]] | None:
        pixels = read_original(contents, root, row)
        if pixels is None:
            return None
        copies, small = make_copies(pixels, recipe.image_size, SIDE)
        own = read_pixels(contents, root, row, SIDE)
        if own is None:
            return None
        picture = prepare(own)
        alike = [measure_likeness(picture, prepare(copy)) for copy in small.values()]
        return embed(np.stack(list(copies.values()))), alike

    rows, features, likeness = [], [], []
    for done, (row, made) in enumerate(
        zip(originals, map_batches(work, originals, embed.n_streams), strict=True), start=1
    ):
        if made is not None:
            rows.append(row)
            features.append(made[0])
            likeness.append(made[1])
        on_progress("Embedding changed copies", done, len(originals))
    if not rows:
        return _Changed([], {}, {})
    by_change = np.stack(features, axis=1)
    return _Changed(
        rows,
        dict(zip(CHANGES, by_change, strict=True)),
        dict(zip(CHANGES, np.array(likeness).T, strict=True)),
    )


def _limit_likeness(
    contents: Contents,
    neighbours: Neighbours,
    root: Path,
    originals: Sequence[int],
    on_progress: OnProgress,
) -> tuple[float, int]:
    """The likeness that one in 20,000 pairs of different pictures reaches, and of how many it is
    known.
    """
    others = slice(_FIRST_OTHER, _FIRST_OTHER + _N_OTHERS)

    def compare(row: int) -> list[float]:
        own = read_pixels(contents, root, row, SIDE)
        if own is None:
            return []
        picture = prepare(own)
        near = [read_pixels(contents, root, other, SIDE) for other in
                neighbours.rows[row, others].tolist()]  # fmt: skip
        return [measure_likeness(picture, prepare(one)) for one in near if one is not None]

    found: list[float] = []
    compared = map_batches(compare, originals, count_cores())
    for done, alike in enumerate(compared, start=1):
        found += alike
        on_progress("Comparing pictures", done, len(originals))
    if len(found) < _FEWEST_PAIRS:
        return FIXED_LIKENESS, 0
    return max(LEAST_LIKENESS, find_limit(np.array(found), FALSE_PAIRS)), len(found)


def find_limit(likeness: np.ndarray, share: float) -> float:
    """The likeness that so small a share of pairs reaches, farther out than any that was seen.

    Fisher's transform makes the tail an exponential one above the uppermost tenth's edge. Its scale
    is taken from the median there, so that near duplicates among the pairs, up to one in
    twenty, do not move it far.

    Args:
        likeness: `(n,)`, -1..1.
        share: 0..1, far below 0.1.

    Source: exceedances over a high threshold, J. Pickands, "Statistical inference using extreme
    order statistics", Annals of Statistics 3 (1975), of shape 0.
    """
    transformed = np.arctanh(np.clip(likeness, -1, 1 - 1e-6))
    edge = float(np.quantile(transformed, 1 - _TAIL))
    over = transformed[transformed > edge] - edge
    scale = float(np.median(over)) / math.log(2) if len(over) else 0.0
    return float(np.tanh(edge + scale * math.log(_TAIL / share)))
