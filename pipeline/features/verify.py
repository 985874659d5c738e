"""Embeds some rows of a feature file again: does it still say what its images say?"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from pipeline.backbones.engines.device import require_device_name
from pipeline.backbones.weights.resolve import resolve_recorded_weights
from pipeline.errors import FeatureFileError
from pipeline.features.embed import Embed, MakeEmbedder, embed_files, make_embedder
from pipeline.features.feature_file import Contents, FeatureFile
from pipeline.features.open_embedding import find_batch_size
from pipeline.images.dataset import require_data_root
from pipeline.images.decoding.read_images import NO_LIMITS, read_images
from pipeline.recipe import EngineRecord


@dataclass(frozen=True)
class Recomputed:
    """How far recomputed features are from the cached ones.

    Args:
        n_rows: compared.
        greatest_difference: relative to the greatest feature.
        problems: a sentence for each image that could not be compared.
        engine: what recomputed them.
    """

    n_rows: int
    greatest_difference: float
    problems: list[str]
    engine: EngineRecord


def recompute(
    path: str | Path,
    n_rows: int,
    *,
    weights: str | Path | None = None,
    data_root: Path | None = None,
    device: str = "auto",
    engine: str | None = None,
    seed: int = 0,
    network_store: bool = True,
    is_alone: bool = False,
    on_note: Callable[[str], None] = lambda note: None,
) -> Recomputed:
    """Embeds randomly drawn rows of a feature file again and compares.

    Args:
        path: the feature file.
        n_rows: at most so many, drawn without replacement.
        weights: where the backbone's weights are now, None for where they came from.
        data_root: where the images lie now, None for where they lay.
        device: `auto`, `cpu`, `gpu` or `gpu:N`.
        engine: what runs the network, None for what suits the device.
        seed: decides which rows.
        network_store: keep the converted network for the next time, and take it from there.
        is_alone: this process does nothing but this; see `extract`.
        on_note: called with what people should know.

    Raises:
        FeatureFileError: no feature file, or not one of the drawn images is as it was.
        WeightsError: the weights are not there, or not those of the features.
        EngineError, DeviceError: the network cannot be run that way.
    """
    require_device_name(device)
    with FeatureFile(Path(path)) as file:
        recipe = file.contents.recipe
        resolved = resolve_recorded_weights(recipe, str(weights or file.contents.weights_source))
        make = partial(
            make_embedder,
            recipe,
            resolved,
            device,
            engine,
            network_store=network_store,
            is_alone=is_alone,
        )
        return recompute_rows(file, n_rows, make, data_root=data_root, seed=seed, on_note=on_note)


def recompute_rows(
    file: FeatureFile,
    n_rows: int,
    make_embedder: MakeEmbedder,
    *,
    data_root: Path | None = None,
    seed: int = 0,
    on_note: Callable[[str], None] = lambda note: None,
) -> Recomputed:
    """`recompute` with an open file and a way to make the embedder.

    Args:
        make_embedder: called with a batch size, None = what suits the device.

    Raises:
        DatasetError: the folder of the images is not there.
        FeatureFileError: not one of the drawn images is as it was.
    """
    contents = file.contents
    n_samples = len(contents.images)
    rows = np.random.default_rng(seed).permutation(n_samples)[:n_rows]
    root = data_root or Path(contents.data_root)
    require_data_root(root)
    paths = [root / contents.images.paths[row] for row in rows]
    embed = _open(make_embedder, contents)
    for note in embed.notes:
        on_note(note)
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
    return Recomputed(compared, greatest / max(scale, 1e-30), problems, embed.record)


def _open(make_embedder: MakeEmbedder, contents: Contents) -> Embed:
    """With the batch size of the file, where the same engine computes."""
    embed = make_embedder(None)
    batch_size = find_batch_size(contents.engines, embed.record)
    return embed if batch_size in (None, embed.batch_size) else make_embedder(batch_size)
