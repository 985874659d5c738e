"""Stage one as one call: from a folder, list or archive of images to a feature file."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.backbones.engines.device import may_have_gpu, require_device_name
from pipeline.backbones.engines.network_store import NetworkStore
from pipeline.backbones.engines.opening import require_device
from pipeline.backbones.engines.recipe_network import opens_quickly
from pipeline.backbones.engines.registry import find_engine
from pipeline.backbones.presets import describe_few_pixels, find_backbone, require_image_size
from pipeline.backbones.weights.resolve import ResolvedWeights
from pipeline.features.depth import settle_depth
from pipeline.features.embed import MakeEmbedder, make_embedder
from pipeline.features.embed_on_devices import find_gpus, make_on_all
from pipeline.features.make_recipe import make_recipe
from pipeline.features.open_embedding import Workers
from pipeline.features.opened_file import Extraction
from pipeline.features.options import ALL_DEVICES, ExtractOptions, parse_colour
from pipeline.features.spread.cluster_worker import make_on_worker
from pipeline.features.spread.shard_number import Shard, parse_shard
from pipeline.features.summary import write_skipped_csv
from pipeline.features.update import update_features
from pipeline.features.update_job import UpdateOptions
from pipeline.images.augmentation.augment import AUGMENTATION_VERSION
from pipeline.images.augmentation.views import Views
from pipeline.images.dataset import Dataset, scan_dataset
from pipeline.images.decoding.read_images import make_limits
from pipeline.images.fetch import unpack_if_archive
from pipeline.images.mend import mend
from pipeline.recipe import FULL_DEPTH, Recipe
from pipeline.system.options import build_options
from pipeline.system.paths import as_path
from pipeline.system.progress import OnProgress

CACHE_FOLDER = Path("cache")


def extract(
    data: str | os.PathLike[str],
    *,
    output: str | os.PathLike[str] | None = None,
    is_alone: bool = False,
    on_dataset: Callable[[Dataset], None] = lambda dataset: None,
    on_progress: OnProgress = lambda stage, done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
    **options: Any,
) -> Extraction:
    """Runs a frozen backbone over the images of a data set and keeps what it sees.

    What was extracted before is not computed again.

    Args:
        data: a folder with a folder per class, perhaps below train, val and test; a CSV with the
            columns path, label and perhaps split; or an archive, which is unpacked under `data/`
            first.
        output: the feature file, None for a name in `cache/` that tells data, backbone and recipe.
        is_alone: this process does nothing but this, so TensorFlow may be set up for embedding,
            which holds as long as the process runs and makes training in it slow.
        on_dataset: called with the data set when its images are known.
        on_progress: called with a stage, the number done and the number to do.
        on_note: called with what people should know while they wait.
        **options: fields of `ExtractOptions`, such as `backbone` and `image_size`.

    Returns:
        The feature file and what was done.

    Raises:
        FrostlineError: an option makes no sense, or something is not as it must be; `errors.py`
            lists the kinds.

    Example:
        >>> features = extract("photos", backbone="efficientnet-lite0")  # doctest: +SKIP
        >>> X, y, split = features.arrays()  # doctest: +SKIP
    """
    for name in ("weights", "labels", "exclude"):
        if isinstance(options.get(name), os.PathLike):
            options[name] = os.fspath(options[name])
    wanted = build_options(ExtractOptions, options, "extract features")
    wanted.check()
    device = "gpu" if wanted.device == ALL_DEVICES else wanted.device
    require_device_name(device)
    if wanted.engine is not None:
        find_engine(wanted.engine)
    backbone = find_backbone(wanted.backbone)
    size = require_image_size(backbone, wanted.image_size)
    _require_devices(wanted)
    folder, notes = unpack_if_archive(as_path(data, "data"))
    for note in [*wanted.describe_idle(), *describe_few_pixels(backbone, size), *notes]:
        on_note(note)
    dataset = scan_dataset(folder, wanted.class_depth, wanted.label_from, on_progress)
    dataset = mend(dataset, _path(wanted.labels), _path(wanted.exclude)).limited(wanted.limit)
    on_dataset(dataset)
    recipe, weights = make_recipe(
        wanted.backbone,
        wanted.weights,
        image_size=wanted.image_size,
        seed=wanted.seed,
        resize=wanted.resize,
        background=None if wanted.background is None else parse_colour(wanted.background),
        layer=wanted.layer,
        pooling=wanted.pooling,
        precision=wanted.precision,
        truncated=wanted.truncated,
        depth=None if wanted.depth is None else FULL_DEPTH,
    )
    chosen = None if output is None else as_path(output, "output")
    shard = None if wanted.shard is None else parse_shard(wanted.shard)
    views = wanted.make_views(AUGMENTATION_VERSION)
    if views is not None:
        on_note(f"Making {views}; the first is the image as it is.")
    name_target = partial(default_target, dataset.name, shard=shard, views=views)
    if wanted.depth == "auto":
        limits = make_limits(wanted.max_pixels, wanted.max_bytes)
        recipe = settle_depth(recipe, dataset, chosen, name_target, limits, on_progress, on_note)
    target = chosen or name_target(recipe)
    make = _choose_embedder(wanted, recipe, weights, is_alone=is_alone)
    how = _update_options(wanted, recipe, weights.source, shard, views)
    summary = update_features(dataset, recipe, target, make, how, on_progress, on_note)
    if wanted.skipped_csv:
        on_note(f"Skipped images: {write_skipped_csv(summary.path, summary.skipped)}")
    return Extraction(summary.path, summary)


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)


def _require_devices(wanted: ExtractOptions) -> None:
    """Raises a DeviceError where a GPU of this machine was asked for that cannot be used."""
    if wanted.scheduler is not None:
        return
    if wanted.device == ALL_DEVICES:
        find_gpus(wanted.engine)
    else:
        require_device(wanted.device, wanted.engine, in_processes=wanted.parallel == "processes")


def _choose_embedder(
    wanted: ExtractOptions, recipe: Recipe, weights: ResolvedWeights, *, is_alone: bool
) -> MakeEmbedder:
    """What makes the network ready, wherever it is called."""
    if wanted.scheduler is not None:
        return partial(
            make_on_worker,
            recipe,
            weights.source,
            wanted.device,
            wanted.engine,
            network_store=wanted.network_store,
            is_fast=wanted.fast,
        )
    on_all = wanted.device == ALL_DEVICES
    in_processes = on_all or wanted.parallel == "processes"
    make = partial(
        make_embedder,
        recipe,
        weights,
        "gpu" if on_all else wanted.device,
        wanted.engine,
        n_streams=1 if wanted.parallel == "processes" else wanted.jobs,
        network_store=wanted.network_store,
        is_alone=is_alone or in_processes,
        is_fast=wanted.fast,
    )
    return partial(make_on_all, make, recipe.image_size, wanted.engine) if on_all else make


def _opens_in_a_moment(wanted: ExtractOptions, recipe: Recipe) -> bool:
    """Whether the network is opened in this process, on the CPU, as it was converted before."""
    is_here = wanted.scheduler is None and wanted.parallel in ("auto", "threads")
    is_on_cpu = wanted.device == "cpu" or (wanted.device == "auto" and not may_have_gpu())
    is_kept = wanted.network_store and wanted.engine in (None, "openvino")
    return is_here and is_on_cpu and is_kept and opens_quickly(recipe, NetworkStore())


def _update_options(
    wanted: ExtractOptions,
    recipe: Recipe,
    weights_source: str,
    shard: Shard | None,
    views: Views | None,
) -> UpdateOptions:
    limits = None
    if wanted.max_pixels is not None or wanted.max_bytes is not None:
        limits = make_limits(wanted.max_pixels, wanted.max_bytes)
    return UpdateOptions(
        rehash=wanted.rehash,
        retry_skipped=wanted.retry_skipped,
        reuse=wanted.reuse,
        prune=wanted.prune,
        moved=wanted.moved,
        batch_size=wanted.batch_size,
        weights_source=weights_source,
        limits=limits,
        isolate=wanted.isolate,
        stop_at_failure=wanted.on_error == "fail",
        workers=Workers(wanted.parallel, wanted.jobs, wanted.scheduler),
        engine=wanted.engine,
        shard=shard,
        views=views,
        opens_ahead=_opens_in_a_moment(wanted, recipe),
    )


def default_target(
    name: str, recipe: Recipe, shard: Shard | None = None, views: Views | None = None
) -> Path:
    """`cache/DATA-BACKBONE-XXXXXXXX.h5`, X being the start of the recipe id.

    With views it ends with `-4-light-views`, a shard's with `-shard-2-of-3`.
    """
    end = "" if views is None else f"-{views.in_file_names}"
    end += "" if shard is None else f"-{shard.in_file_names}"
    return CACHE_FOLDER / f"{name}-{recipe.backbone_in_file_names}-{recipe.id[:8]}{end}.h5"
