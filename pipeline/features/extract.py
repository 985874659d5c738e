"""Stage one: bring the feature file of a data set up to date, computing only what is missing.

Identify (which image is which, by digest), compute what no source has (into part files that
survive a kill), assemble (one new feature file), in this order.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.backbones.presets import find_backbone, require_image_size
from pipeline.backbones.weights.resolve import ResolvedWeights, resolve_weights
from pipeline.errors import DatasetError, FeatureFileError, StorageError
from pipeline.features.assemble import plan_contents, with_probes
from pipeline.features.embed import Embed, EmbedFiles, EmbedInThreads, Progress, embed_into_parts
from pipeline.features.embed_in_processes import EmbedInProcesses
from pipeline.features.feature_file import Contents, FeatureFile, write_features
from pipeline.features.finished_rows import FinishedRows, PartWriter, find_rows, remove_parts
from pipeline.features.identify import Identity, identify_images
from pipeline.images.dataset import Dataset
from pipeline.images.decoding.decode import DECODER_VERSION
from pipeline.images.decoding.isolated_worker import ISOLATE_SECONDS
from pipeline.images.decoding.read_batches import (
    BatchReader,
    ReaderSettings,
    read_notes,
    remove_notes,
)
from pipeline.images.decoding.read_images import DEFAULT_LIMITS, Limits
from pipeline.recipe import Recipe
from pipeline.system.locks import hold_lock
from pipeline.system.paths import free_bytes

CACHE_FOLDER = Path("cache")
_BYTES_PER_TABLE_ROW = 200


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
        limits: what an image may be at most, None = the defaults. Where they are given, images
            that were too large before are tried again.
        isolate: decode in worker processes; an image that takes `isolate_seconds` is given up.
        stop_at_failure: raise at the first image that cannot be used, instead of skipping it.
        n_processes: embed in so many worker processes; 0 = in threads of this one.
    """

    rehash: bool = False
    retry_skipped: bool = False
    reuse: bool = True
    prune: bool = False
    moved: bool = False
    batch_size: int | None = None
    weights_source: str = ""
    limits: Limits | None = None
    isolate: bool = False
    isolate_seconds: float = ISOLATE_SECONDS
    stop_at_failure: bool = False
    n_processes: int = 0


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
    truncated: str = "skip",
) -> tuple[Recipe, ResolvedWeights]:
    """Decides everything that the features will depend on, without loading TensorFlow.

    Raises:
        BackboneError: no such backbone.
        WeightsError: the weights are not there and cannot be downloaded.
    """
    backbone = find_backbone(backbone_name)
    resolved = resolve_weights(backbone, weights, seed, layer)
    recipe = Recipe(
        backbone=backbone.name,
        weights=resolved.key,
        image_size=require_image_size(backbone, image_size),
        resize=resize,
        background=background,
        decoder_version=DECODER_VERSION,
        channel_order=backbone.channel_order,
        scale=backbone.scale,
        offset=backbone.offset,
        layer=layer,
        pooling=pooling,
        precision=precision,
        truncated=truncated,
    )
    return recipe, resolved


def default_target(name: str, recipe: Recipe, limit: int | None = None) -> Path:
    """`cache/DATA-BACKBONE-XXXXXXXX.h5`, X being the start of the recipe id."""
    data = name + (f"-limit{limit}" if limit else "")
    return CACHE_FOLDER / f"{data}-{recipe.backbone_in_file_names}-{recipe.id[:8]}.h5"


def extract_features(
    dataset: Dataset,
    recipe: Recipe,
    target: Path,
    make_embedder: Callable[[int | None], Embed],
    options: ExtractOptions = ExtractOptions(),
    on_progress: Progress = lambda stage, done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> ExtractSummary:
    """Brings `target` up to date with the data set.

    Args:
        make_embedder: called with a batch size (None = choose) if and only if there is
            something to compute, so that nothing heavy is imported otherwise. With
            `options.n_processes` it is called in each of them, and must be picklable.
        on_progress: called with a stage, the number done and the number to do.
        on_note: called with what people should know while they wait.

    Raises:
        LockedError: another process writes the same target.
        FeatureFileError: the existing file is damaged or belongs to another data set.
        StorageError: it cannot be written; what was computed is kept in the parts.
        DatasetError: not one image could be used, or the first that could not stops it.
    """
    started = time.perf_counter()
    summary = ExtractSummary(target, n_images=len(dataset))

    def tell(note: str) -> None:
        summary.notes.append(note)
        on_note(note)

    with hold_lock(target):
        old = _read_existing(target, recipe, dataset.root, options)
        parts_folder = target.with_name(target.name + ".parts")
        found = find_rows(target, parts_folder, recipe, old, reuse=options.reuse)
        for note in found.notes:
            tell(note)
        if n_resumed := found.count("resumed"):
            tell(f"Found {n_resumed:,} finished rows of an interrupted run.")
        batch_size = _keep_batch_size(found.batch_size, options, tell)
        identity = identify_images(
            dataset,
            old,
            rehash=options.rehash,
            retry=lambda reason: _is_retried(reason, options),
            on_progress=on_progress,
        )
        for row, reason in sorted(identity.reasons.items()):
            _stop_if_asked(options, dataset.root / dataset.paths[row], reason)
        finished = FinishedRows(found.sources)
        missing = _find_missing(identity, finished)
        if missing:
            settings = _settle_reading(recipe, parts_folder, options, tell)
            with _open_embedding(make_embedder, batch_size, settings, options) as files_to_rows:
                batch_size = files_to_rows.batch_size
                n_features = files_to_rows.n_features
                tell(_describe_room(target, len(missing), len(dataset), n_features))
                writer = PartWriter(parts_folder, recipe, batch_size, found.next_part)
                compute_started = time.perf_counter()
                for position, digest, reason in embed_into_parts(
                    (dataset.root / dataset.paths[row] for row in missing),
                    len(missing),
                    files_to_rows,
                    writer,
                    lambda path, reason: _stop_if_asked(options, path, reason),
                    on_progress,
                ):
                    identity.give_up(missing[position], digest, reason)
            summary.compute_seconds = time.perf_counter() - compute_started
            finished = FinishedRows(found.sources + writer.sources)
        identity.skip_unfinished(finished)
        contents = plan_contents(
            dataset,
            recipe,
            identity,
            old,
            prune=options.prune,
            weights_source=options.weights_source,
            batch_size=batch_size or 0,
        )
        _count(summary, contents, finished, old)
        summary.is_unchanged = old is not None and contents.says_the_same(old)
        if not summary.is_unchanged:
            write_features(
                target,
                with_probes(contents, dataset),
                finished.gather(contents.images.digests),
                finished.gather(contents.retired),
                finished.count_features(),
            )
        remove_notes(parts_folder)
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
    made_with: int | None, options: ExtractOptions, tell: Callable[[str], None]
) -> int | None:
    """Rows of one file are all made with one batch size: that of the rows that exist."""
    if made_with is None:
        return options.batch_size
    if options.batch_size not in (None, made_with):
        tell(f"The batch size stays {made_with}, as for the rows that are there already.")
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


def _describe_room(target: Path, n_missing: int, n_rows: int, n_features: int) -> str:
    """Says what the file will take and what is free.

    Raises:
        StorageError: it is more than is free.
    """
    row_bytes = 4 * n_features
    file_bytes = n_rows * (row_bytes + _BYTES_PER_TABLE_ROW)
    needed = n_missing * row_bytes + file_bytes
    free = free_bytes(target.parent)
    if needed > free:
        raise StorageError(
            f"Not enough room for {target}. Expected {needed / 1e9:.2f} GB free (the finished rows "
            f"and, at the end, the one file made from them). Received: {free / 1e9:.2f} GB\n"
            "Make room, or choose another disk with --output."
        )
    return (
        f"{n_missing:,} of {n_rows:,} images to compute. The file will take "
        f"{_megabytes('about', file_bytes)}, and {_megabytes('up to', needed)} while it is made; "
        f"{free / 1e9:,.1f} GB are free."
    )


def _megabytes(bound: str, n_bytes: int) -> str:
    """`about 1.2 MB`; of little, not `about 0.0 MB`."""
    return f"{bound} {n_bytes / 1e6:,.1f} MB" if n_bytes >= 0.05e6 else "less than 0.1 MB"


def _is_retried(reason: str, options: ExtractOptions) -> bool:
    return options.retry_skipped or (options.limits is not None and reason.startswith("too large"))


def _settle_reading(
    recipe: Recipe, parts_folder: Path, options: ExtractOptions, tell: Callable[[str], None]
) -> ReaderSettings:
    suspects = read_notes(parts_folder)
    if suspects:
        tell(
            f"The last run ended while it decoded {len(suspects)} image(s); each of them is "
            "decoded in a process of its own now."
        )
    return ReaderSettings(
        recipe,
        options.limits or DEFAULT_LIMITS,
        parts_folder,
        suspects,
        isolate=options.isolate,
        seconds=options.isolate_seconds,
    )


@contextmanager
def _open_embedding(
    make_embedder: Callable[[int | None], Embed],
    batch_size: int | None,
    settings: ReaderSettings,
    options: ExtractOptions,
) -> Iterator[EmbedFiles]:
    """Threads of this process, or worker processes."""
    if options.n_processes:
        with EmbedInProcesses(make_embedder, batch_size, settings, options.n_processes) as embed:
            yield embed
    else:
        embed = make_embedder(batch_size)
        with BatchReader(settings, embed.n_streams) as read:
            yield EmbedInThreads(embed, read)


def _stop_if_asked(options: ExtractOptions, path: Path, reason: str) -> None:
    if options.stop_at_failure:
        raise DatasetError(
            f"Stopped at the first image that cannot be used. Expected an image that Pillow can "
            f"decode. Received: {path}: {reason}\nWhat was finished is kept. Repair or remove the "
            "image, or say --on-error skip."
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
