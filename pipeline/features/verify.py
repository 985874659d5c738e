"""Embeds some rows of a feature file again: does it still say what its images say?"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.errors import FeatureFileError
from pipeline.features.embed import Embed, embed_files
from pipeline.features.feature_file import FeatureFile
from pipeline.images.decoding.read_images import NO_LIMITS, read_images


@dataclass(frozen=True)
class Recomputed:
    """How far recomputed features are from the cached ones, relative to the greatest feature."""

    n_rows: int
    greatest_difference: float
    problems: list[str]


def recompute_rows(
    file: FeatureFile,
    n_rows: int,
    make_embedder: Callable[[int], Embed],
    *,
    data_root: Path | None = None,
    seed: int = 0,
) -> Recomputed:
    """Embeds randomly drawn rows again and compares.

    Args:
        n_rows: at most so many, drawn without replacement.
        make_embedder: called with the file's batch size.
        data_root: where the images lie now, None for where they lay.

    Raises:
        FeatureFileError: not one of the drawn images is as it was.
    """
    contents = file.contents
    n_samples = len(contents.images)
    rows = np.random.default_rng(seed).permutation(n_samples)[:n_rows]
    root = data_root or Path(contents.data_root)
    paths = [root / contents.images.paths[row] for row in rows]
    embed = make_embedder(contents.batch_size)
    read = partial(read_images, recipe=contents.recipe, limits=NO_LIMITS)
    problems, compared, greatest = [], 0, 0.0
    for start in range(0, len(rows), embed.images_per_task):
        batch = slice(start, start + embed.images_per_task)
        outcomes, features = embed_files(paths[batch], read, embed)
        fresh = iter(features)
        for row, path, (digest, reason) in zip(rows[batch], paths[batch], outcomes, strict=True):
            new = None if reason is not None else next(fresh)
            if reason is not None:
                problems.append(f"{path}: {reason}")
            elif not np.array_equal(digest, contents.images.digests[row]):
                problems.append(f"{path}: it was edited since")
            else:
                old = file.read_rows(np.array([row]))[0]
                greatest = max(greatest, float(np.abs(new - old).max()))
                compared += 1
    if not compared:
        raise FeatureFileError(
            f"Not one of {len(rows)} images is as it was when {file.path} was made. Expected "
            f"them in {root}. The first: {problems[0]}"
        )
    scale = float(np.abs(file.read_rows(rows)).max())
    return Recomputed(compared, greatest / max(scale, 1e-30), problems)
