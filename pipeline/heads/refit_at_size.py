"""A run once more at another image size: the same images, division and head on new features."""

import shutil
import time
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.backbones.weights.resolve import resolve_recorded_weights
from pipeline.errors import DatasetError, RunError
from pipeline.features.embed import MakeEmbedder, make_embedder
from pipeline.features.extract import default_target
from pipeline.features.feature_file import Contents
from pipeline.features.joined_features import open_features_to_fit
from pipeline.features.update import update_features
from pipeline.features.update_job import UpdateOptions
from pipeline.heads.fit_head import fit_head
from pipeline.heads.fit_options import SHARED_OPTIONS
from pipeline.heads.options import ViewOptions
from pipeline.heads.registry import find_head
from pipeline.heads.rows.rows_of_run import find_feature_files
from pipeline.images.dataset import Dataset
from pipeline.recipe import Recipe
from pipeline.runs.predictions import read_predictions
from pipeline.runs.run_folder import Run, open_run
from pipeline.system.parallel import map_batches
from pipeline.system.paths import modified_ns
from pipeline.system.progress import OnProgress

_TIMED_TASKS = 2  # for each stream
_DECODING_SECONDS = 0.004  # of a photo, by one core


def refit_at_size(
    run: Run,
    image_size: int,
    *,
    root: Path,
    weights: str | None = None,
    device: str = "auto",
    output: Path | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Run:
    """Extracts a run's images at another size and fits its kind of head on them.

    What was extracted at that size before is not computed again.

    Args:
        run: with a head on the features of one file.
        image_size: pixels, of each side.
        root: where the images lie now.
        weights: where the backbone's weights lie now, None for where they came from.
        device: auto, cpu, gpu or gpu:N.
        output: of the new run, None for the next free name under `runs/`.

    Returns:
        The new run.

    Raises:
        FrostlineError: the features are gone, the backbone takes no other size, an image is gone,
            or the head cannot be fitted.
        RunError: the images are not divided as they were.
    """
    (file,) = find_feature_files(run)
    with open_features_to_fit([file], join=False) as opened:
        contents = opened.contents
    recipe = replace(run.recipe, image_size=image_size)
    make = _find_embedder(run, recipe, weights, device)
    target = default_target(contents.data_name, recipe)
    how = UpdateOptions(weights_source=weights or run.manifest.weights_source)
    update_features(_find_dataset(contents, root), recipe, target, make, how, on_progress, on_note)
    options = _list_options(run)
    result = fit_head(target, head=run.kind, output=output, on_progress=on_progress, **options)
    refitted = open_run(result.folder)
    try:
        require_same_but_for_size(run, refitted)
    except RunError:
        shutil.rmtree(refitted.folder)  # made in vain
        raise
    return refitted


def _list_options(run: Run) -> dict[str, Any]:
    """All that was said of the fit, but for views: the larger images have none."""
    kinds = [find_head(run.kind).options, *(kind for kind in SHARED_OPTIONS if kind != ViewOptions)]
    known = {entry.name for kind in kinds for entry in fields(kind)}
    return {name: value for name, value in run.manifest.parameters.items() if name in known}


def estimate_seconds(
    run: Run, image_size: int, n_images: int, *, weights: str | None = None, device: str = "auto"
) -> float:
    """How long the extraction of so many images at another size takes; a few are timed.

    Raises:
        FrostlineError: the backbone takes no other size, or its weights are gone.
    """
    embed = _find_embedder(run, replace(run.recipe, image_size=image_size), weights, device)(None)
    shape = (embed.images_per_task, image_size, image_size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    embed(pixels)
    started = time.perf_counter()
    tasks = [pixels] * (_TIMED_TASKS * embed.n_streams)
    n_timed = sum(len(rows) for rows in map_batches(embed, tasks, embed.n_streams))
    return n_images * ((time.perf_counter() - started) / n_timed + _DECODING_SECONDS)


def _find_embedder(run: Run, recipe: Recipe, weights: str | None, device: str) -> MakeEmbedder:
    source = weights or run.manifest.weights_source
    return partial(make_embedder, recipe, resolve_recorded_weights(recipe, source), device, None)


def _find_dataset(contents: Contents, root: Path) -> Dataset:
    """The images of a feature file, as they lie on the disk now."""
    try:
        stats = [(root / path).stat() for path in contents.images.paths]
    except OSError as error:
        raise DatasetError(
            "An image of the features is not where it was. Expected all of "
            f"{len(contents.images):,} below {root}. Received: {error.filename}"
        ) from error
    return Dataset(
        name=contents.data_name,
        source=Path(contents.data_root),
        root=root,
        paths=contents.images.paths,
        labels=contents.labels,
        splits=contents.splits,
        sizes=np.array([stat.st_size for stat in stats], np.int64),
        mtimes=np.array([modified_ns(stat) for stat in stats], np.int64),
        class_names=contents.class_names,
    )


def require_same_but_for_size(run: Run, other: Run) -> None:
    """Whether a run is this one at another image size: its backbone, head, images and division.

    Raises:
        RunError: it is not.
    """
    recipe = replace(other.recipe, image_size=run.recipe.image_size)
    is_same = recipe == run.recipe and other.kind == run.kind
    if is_same:
        options = _list_options(run)
        is_same = options == _list_options(other)
    if is_same:
        old, new = read_predictions(run), read_predictions(other)
        is_same = (
            old.paths == new.paths
            and np.array_equal(old.splits, new.splits)
            and np.array_equal(old.labels, new.labels)
        )
    if not is_same:
        raise RunError(
            "This is not the same run at another image size. Expected the backbone, the head with "
            f"its options, and the images, splits and labels of {run.folder}. Received: "
            f"{other.folder}\nRemove it or give it another name, if it is in the way."
        )
