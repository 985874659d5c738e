"""Stage one: bring the feature file of a data set up to date, computing only what is missing.

Identify (which image is which, by digest), compute what no source has (into part files that
survive a kill), assemble (one new feature file), in this order.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from pipeline.backbones.registry import get_backbone
from pipeline.backbones.weights import ResolvedWeights, resolve_weights
from pipeline.cache import Contents, FeatureFile, ImageTable, write_features
from pipeline.dataset import Dataset
from pipeline.errors import DatasetError, FeatureFileError, StorageError
from pipeline.files import free_bytes, hold_lock
from pipeline.identify import Identity, identify_images, read_image
from pipeline.images import DECODER_VERSION
from pipeline.parallel import map_batches
from pipeline.recipe import Recipe
from pipeline.rows import FinishedRows, PartWriter, find_rows, remove_parts

CACHE_FOLDER = Path("cache")
N_PROBES = 8
_BYTES_PER_TABLE_ROW = 200

Progress = Callable[[str, int, int], None]


class Embed(Protocol):
    """What extraction needs of an embedder."""

    n_features: int
    batch_size: int
    n_streams: int

    def __call__(self, pixels: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class ExtractOptions:
    """How to bring a feature file up to date.

    Args:
        rehash: read every image anew, even where size and time are unchanged.
        retry_skipped: try images again that could not be decoded before.
        reuse: take rows from other feature files of the same recipe in the same folder.
        prune: forget the rows of images that are no longer there.
        moved: accept a file that was made from another folder.
        batch_size: images per call of the network; an existing file keeps its own.
        weights_source: where the weights came from, for people and for later stages.
    """

    rehash: bool = False
    retry_skipped: bool = False
    reuse: bool = True
    prune: bool = False
    moved: bool = False
    batch_size: int | None = None
    weights_source: str = ""


@dataclass
class ExtractSummary:
    """What an extraction did; counts are images."""

    path: Path
    n_images: int = 0
    kept: int = 0
    resumed: int = 0
    reused: int = 0
    computed: int = 0
    copies: int = 0
    removed: int = 0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    is_unchanged: bool = False
    seconds: float = 0.0
    compute_seconds: float = 0.0
    bytes: int = 0


def make_recipe(
    backbone_name: str,
    weights: str,
    *,
    image_size: int | None = None,
    seed: int = 0,
    resize: str = "stretch",
    background: tuple[int, int, int] = (255, 255, 255),
    layer: str = "top",
    pooling: str = "avg",
    precision: str = "float32",
) -> tuple[Recipe, ResolvedWeights]:
    """Decides everything that the features will depend on, without loading TensorFlow.

    Raises:
        BackboneError: no such backbone.
        WeightsError: the weights are not there and cannot be downloaded.
    """
    backbone = get_backbone(backbone_name)
    resolved = resolve_weights(backbone, weights, seed)
    recipe = Recipe(
        backbone=backbone.name,
        weights=resolved.key,
        image_size=image_size or backbone.image_size,
        resize=resize,
        background=background,
        decoder_version=DECODER_VERSION,
        channel_order=backbone.channel_order,
        scale=backbone.scale,
        offset=backbone.offset,
        layer=layer,
        pooling=pooling,
        precision=precision,
    )
    return recipe, resolved


def default_target(root: Path, recipe: Recipe, limit: int | None = None) -> Path:
    """`cache/DATA-BACKBONE-XXXXXXXX.h5`, X being the start of the recipe id."""
    data = root.resolve().name + (f"-limit{limit}" if limit else "")
    return CACHE_FOLDER / f"{data}-{recipe.backbone}-{recipe.id[:8]}.h5"


def extract_features(
    dataset: Dataset,
    recipe: Recipe,
    target: Path,
    make_embedder: Callable[[int | None], Embed],
    options: ExtractOptions = ExtractOptions(),
    on_progress: Progress = lambda stage, done, total: None,
) -> ExtractSummary:
    """Brings `target` up to date with the data set.

    Args:
        make_embedder: called with a batch size (None = choose) if and only if there is
            something to compute, so that nothing heavy is imported otherwise.
        on_progress: called with a stage, the number done and the number to do.

    Raises:
        LockedError: another process writes the same target.
        FeatureFileError: the existing file is damaged or belongs to another data set.
        StorageError: it cannot be written; what was computed is kept in the parts.
        DatasetError: not one image could be used.
    """
    started = time.perf_counter()
    summary = ExtractSummary(target, n_images=len(dataset))
    with hold_lock(target):
        old = _read_existing(target, recipe, dataset.root, options)
        parts_folder = target.with_name(target.name + ".parts")
        found = find_rows(target, parts_folder, recipe, old, reuse=options.reuse)
        summary.notes += found.notes
        batch_size = _keep_batch_size(found.batch_size, options, summary)
        identity = identify_images(
            dataset,
            old,
            rehash=options.rehash,
            retry_skipped=options.retry_skipped,
            on_progress=on_progress,
        )
        finished = FinishedRows(found.sources)
        missing = _find_missing(identity, finished)
        if missing:
            embed = make_embedder(batch_size)
            batch_size = embed.batch_size
            _require_room(target, len(missing), len(dataset), embed.n_features)
            writer = PartWriter(parts_folder, recipe, batch_size, found.next_part)
            compute_started = time.perf_counter()
            identity.skip(_compute(dataset, recipe, missing, embed, writer, on_progress))
            summary.compute_seconds = time.perf_counter() - compute_started
            finished = FinishedRows(found.sources + writer.sources)
        contents = _plan_file(dataset, recipe, identity, old, finished, batch_size, options)
        _count(summary, contents, finished, old)
        summary.is_unchanged = old is not None and contents.says_the_same(old)
        if not summary.is_unchanged:
            write_features(
                target,
                _with_probes(contents, dataset),
                finished.gather(contents.images.digests),
                finished.gather(contents.retired),
                finished.count_features(),
            )
        remove_parts(parts_folder, finished.sources)
    summary.seconds = time.perf_counter() - started
    summary.bytes = target.stat().st_size
    return summary


def _read_existing(
    target: Path, recipe: Recipe, root: Path, options: ExtractOptions
) -> Contents | None:
    if not target.exists():
        return None
    with FeatureFile(target) as file:
        old = file.contents
    if old.recipe != recipe:
        raise FeatureFileError(
            f"{target} was made by another recipe, and rows of two recipes are never mixed.\n"
            "What differs: " + "; ".join(old.recipe.differences(recipe)) + "\n"
            "Choose another --output, or leave it out: the default name tells recipes apart."
        )
    if Path(old.data_root) != root.resolve() and not options.moved:
        raise FeatureFileError(
            f"{target} was made from another folder. Expected {old.data_root}. "
            f"Received: {root.resolve()}\n"
            "If the data set was moved there, say --moved; if it is another one, choose another "
            "--output."
        )
    return old


def _keep_batch_size(
    made_with: int | None, options: ExtractOptions, summary: ExtractSummary
) -> int | None:
    """Rows of one file are all made with one batch size: that of the rows that exist."""
    if made_with is None:
        return options.batch_size
    if options.batch_size not in (None, made_with):
        summary.notes.append(
            f"The batch size stays {made_with}, as for the rows that are there already."
        )
    return made_with


def _find_missing(identity: Identity, finished: FinishedRows) -> list[int]:
    """The first row of each image that must be computed."""
    seen: set[bytes] = set()
    missing = []
    for row, digest in enumerate(identity.digests):
        key = digest.tobytes()
        if row not in identity.reasons and key not in finished and key not in seen:
            seen.add(key)
            missing.append(row)
    return missing


def _require_room(target: Path, n_missing: int, n_rows: int, n_features: int) -> None:
    row_bytes = 4 * n_features
    needed = n_missing * row_bytes + n_rows * (row_bytes + _BYTES_PER_TABLE_ROW)
    free = free_bytes(target.parent)
    if needed > free:
        raise StorageError(
            f"Not enough room for {target}. Expected {needed / 1e9:.2f} GB free (the finished rows "
            f"and, at the end, the one file made from them). Received: {free / 1e9:.2f} GB\n"
            "Make room, or choose another disk with --output."
        )


def _compute(
    dataset: Dataset,
    recipe: Recipe,
    rows: list[int],
    embed: Embed,
    writer: PartWriter,
    on_progress: Progress,
) -> dict[bytes, str]:
    """Embeds the images in `rows` into parts; returns the reason of each that could not be used.

    Whatever ends it early, Ctrl-C too, the rows that are finished are in the parts.
    """
    failures: dict[bytes, str] = {}
    paths = [dataset.root / dataset.paths[row] for row in rows]
    batches = [
        paths[start : start + embed.batch_size] for start in range(0, len(paths), embed.batch_size)
    ]
    done = 0
    on_progress("Embedding", 0, len(rows))
    try:
        for batch, features in map_batches(
            lambda batch: embed_files(batch, recipe, embed), batches, embed.n_streams
        ):
            position = 0
            for digest, reason in batch:
                if reason is None:
                    writer.add(digest, features[position])
                    position += 1
                else:
                    failures[digest.tobytes()] = reason
            done += len(batch)
            on_progress("Embedding", done, len(rows))
    finally:
        writer.flush()
    return failures


def embed_files(
    paths: list[Path], recipe: Recipe, embed: Embed
) -> tuple[list[tuple[np.ndarray, str | None]], np.ndarray]:
    """Reads, decodes and embeds one batch.

    Returns:
        (digest, reason or None) of each file, and float32 (n_usable, n_features).
    """
    outcomes, pixels = [], []
    for path in paths:
        digest, decoded = read_image(path, recipe)
        if isinstance(decoded, str):
            outcomes.append((digest, decoded))
        else:
            outcomes.append((digest, None))
            pixels.append(decoded)
    if not pixels:
        return outcomes, np.zeros((0, embed.n_features), np.float32)
    return outcomes, embed(np.stack(pixels))


def _plan_file(
    dataset: Dataset,
    recipe: Recipe,
    identity: Identity,
    old: Contents | None,
    finished: FinishedRows,
    batch_size: int | None,
    options: ExtractOptions,
) -> Contents:
    """The new file's tables, without probes."""
    for row, digest in enumerate(identity.digests):
        if row not in identity.reasons and digest.tobytes() not in finished:
            identity.reasons[row] = "it changed while it was being read; run extract again"
    skipped = np.array(sorted(identity.reasons), np.int64)
    usable = np.setdiff1d(np.arange(len(dataset)), skipped)
    if len(usable) == 0:
        path, reason = dataset.paths[skipped[0]], identity.reasons[int(skipped[0])]
        raise DatasetError(
            f"Not one of the {len(dataset):,} images could be used. Expected images that Pillow "
            f"can decode. Received: {dataset.root}\nThe first: {path}: {reason}"
        )
    return Contents(
        recipe=recipe,
        images=_images_at(dataset, identity, usable),
        labels=dataset.labels[usable],
        splits=dataset.splits[usable],
        class_names=dataset.class_names,
        skipped=_images_at(dataset, identity, skipped),
        reasons=[identity.reasons[row] for row in skipped.tolist()],
        retired=_find_retired(identity.digests[usable], old, options),
        data_root=str(dataset.root.resolve()),
        weights_source=options.weights_source,
        batch_size=batch_size or 0,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        software={
            name: version(name) for name in ("tensorflow", "keras", "numpy", "pillow", "h5py")
        },
    )


def _images_at(dataset: Dataset, identity: Identity, rows: np.ndarray) -> ImageTable:
    return ImageTable(
        paths=[dataset.paths[row] for row in rows.tolist()],
        digests=identity.digests[rows],
        sizes=dataset.sizes[rows],
        mtimes=dataset.mtimes[rows],
    )


def _find_retired(present: np.ndarray, old: Contents | None, options: ExtractOptions) -> np.ndarray:
    """Digests that the old file has rows for and the data set no longer holds, sorted."""
    if old is None or options.prune:
        return np.zeros((0, 32), np.uint8)
    here = {digest.tobytes() for digest in present}
    gone = {
        digest.tobytes()
        for digests in (old.images.digests, old.retired)
        for digest in digests
    } - here  # fmt: skip
    return np.frombuffer(b"".join(sorted(gone)), np.uint8).reshape(-1, 32)


def _with_probes(contents: Contents, dataset: Dataset) -> Contents:
    """Adds eight decoded images, evenly spaced, by which a model can be checked later."""
    n_samples = len(contents.images)
    wanted = np.unique(np.linspace(0, n_samples - 1, min(N_PROBES, n_samples)).round().astype(int))
    rows, pixels = [], []
    for row in wanted.tolist():
        digest, decoded = read_image(dataset.root / contents.images.paths[row], contents.recipe)
        if not isinstance(decoded, str) and np.array_equal(digest, contents.images.digests[row]):
            rows.append(row)
            pixels.append(decoded)
    side = contents.recipe.image_size
    return replace(
        contents,
        probe_rows=np.array(rows, np.int64),
        probe_pixels=np.stack(pixels) if pixels else np.zeros((0, side, side, 3), np.uint8),
    )


def _count(
    summary: ExtractSummary, contents: Contents, finished: FinishedRows, old: Contents | None
) -> None:
    unique = {digest.tobytes() for digest in contents.images.digests}
    counts = Counter(finished.kind_of(digest) for digest in unique)
    summary.kept = counts["kept"]
    summary.resumed = counts["resumed"]
    summary.reused = counts["reused"]
    summary.computed = counts["computed"]
    summary.copies = len(contents.images) - len(unique)
    summary.skipped = list(zip(contents.skipped.paths, contents.reasons, strict=True))
    if old is not None:
        before = {digest.tobytes() for digest in old.images.digests}
        summary.removed = len(before - unique)
