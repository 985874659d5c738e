"""The probe images of a merged file: decoded anew; without the data set, those of the shards."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipeline.features.assemble import N_PROBES, with_probes
from pipeline.features.feature_file import Contents, FeatureFile
from pipeline.features.spread.read_shards import ReadShards, ShardPart
from pipeline.images.dataset import Dataset


def with_merged_probes(
    contents: Contents, dataset: Dataset, shards: ReadShards, tell: Callable[[str], None]
) -> Contents:
    """Adds the probes that `extract` would take, evenly spaced over all images.

    Args:
        tell: called where they are others, since not one of those images can be read here.
    """
    probed = with_probes(contents, dataset)
    if len(probed.probe_rows):
        return probed
    tell(
        f"Not one of the images is as it was in {dataset.root}, seen from here, so the shards' own "
        "probe images are kept: models can be checked against them as well."
    )
    chosen = _evenly(len(shards.parts), N_PROBES)
    n_each = -(-N_PROBES // len(chosen))
    found: dict[int, np.ndarray] = {}
    for number in chosen:
        for digest, pixels in _read_probes(shards.parts[number], n_each):
            found[_find_row(contents, digest)] = pixels
    rows = sorted(found)
    rows = [rows[place] for place in _evenly(len(rows), N_PROBES)]
    if not rows:
        return probed
    return replace(
        probed,
        probe_rows=np.array(rows, np.int64),
        probe_pixels=np.stack([found[row] for row in rows]),
    )


def _find_row(contents: Contents, digest: np.ndarray) -> int:
    """Of the first image with this digest; a dict of all would be as large as their tables."""
    return int(np.flatnonzero((contents.images.digests == digest).all(axis=1))[0])


def _read_probes(part: ShardPart, n_wanted: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Digest and pixels of some of a shard's probes."""
    with FeatureFile(part.path) as file:
        contents = file.contents
    part.require_unchanged()
    digests = contents.images.digests[contents.probe_rows]
    places = _evenly(len(digests), n_wanted)
    return [(digests[place], contents.probe_pixels[place]) for place in places]


def _evenly(n_things: int, n_wanted: int) -> list[int]:
    """Numbers of so many things at most, evenly spaced."""
    places = np.linspace(0, n_things - 1, min(n_wanted, n_things)).round().astype(int)
    return [int(place) for place in np.unique(places)]
