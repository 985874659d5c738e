"""Stage one: bring the feature file of a data set up to date, computing only what is missing.

Identify (which image is which, by digest), compute what no source has (into part files that
survive a kill), assemble (one new feature file), in this order.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from pipeline.errors import DatasetError
from pipeline.features.assemble import (
    N_PROBES,
    plan_contents,
    with_probes,
    write_contents,
)
from pipeline.features.depth import describe_brightness, describe_darkness
from pipeline.features.embed import EmbedFiles, MakeEmbedder, embed_into_parts
from pipeline.features.existing import read_existing
from pipeline.features.feature_file import Contents
from pipeline.features.finished_rows import (
    FinishedRows,
    Found,
    PartWriter,
    RowSource,
    find_rows,
    parts_folder_of,
    remove_parts,
)
from pipeline.features.identify import Identity, identify_images
from pipeline.features.mixing import (
    Origin,
    Sample,
    describe_mixture,
    find_origins,
    sample_images,
    sample_probes,
)
from pipeline.features.open_embedding import Workers, open_embedding
from pipeline.features.room import describe_room
from pipeline.features.row_keys import RowKeys
from pipeline.features.spread.shard_number import Shard
from pipeline.features.spread.shards import ComparedRows
from pipeline.features.spread.share import Share, read_whole, take_share
from pipeline.features.summary import ExtractSummary, count_images
from pipeline.images.augmentation.read_views import ReadViews
from pipeline.images.augmentation.views import Views
from pipeline.images.dataset import Dataset
from pipeline.images.decoding.isolated_worker import ISOLATE_SECONDS
from pipeline.images.decoding.measure_depth import Depths, measure_depths
from pipeline.images.decoding.read_batches import (
    ReaderSettings,
    find_all_unusable,
    read_notes,
    remove_notes,
)
from pipeline.images.decoding.read_images import DEFAULT_LIMITS, Limits
from pipeline.recipe import FULL_DEPTH, Recipe
from pipeline.system.locks import hold_lock
from pipeline.system.printable import count
from pipeline.system.progress import OnProgress

_ADVISE_AFTER_SECONDS = 20.0  # before that, what is faster saves nobody's time


@dataclass(frozen=True)
class UpdateOptions:
    """How to bring a feature file up to date.

    Args:
        rehash: read every image anew, even where its file looks unchanged.
        retry_skipped: try images again that could not be decoded before.
        reuse: take rows from other feature files of the same recipe in the same folder.
        prune: forget the rows of images that are no longer there.
        moved: accept a file that was made from another folder.
        batch_size: images per call of the network; an existing file keeps its own as long as the
            same engine computes.
        weights_source: where the weights came from, for people and for later stages.
        limits: what an image may be at most, None = the defaults. Where they are given, images
            that were too large before are tried again.
        isolate: decode in worker processes; an image that takes `isolate_seconds` is given up.
        stop_at_failure: raise at the first image that cannot be used, instead of skipping it.
        workers: who reads, decodes and embeds.
        engine: that was asked for, None for none in particular; rows of another are then taken
            from no other file.
        shard: compute only the images that fall to it; None = all.
        views: of each image; None = view 0 alone.
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
    workers: Workers = field(default_factory=Workers)
    engine: str | None = None
    shard: Shard | None = None
    views: Views | None = None


@dataclass(frozen=True)
class _Job:
    """One update: what was asked for, and whom to tell."""

    dataset: Dataset
    recipe: Recipe
    target: Path
    make_embedder: MakeEmbedder
    options: UpdateOptions
    tell: Callable[[str], None]
    on_progress: OnProgress

    @property
    def parts_folder(self) -> Path:
        return parts_folder_of(self.target)

    @property
    def keys(self) -> RowKeys:
        return RowKeys(self.options.views)

    def path_of(self, row: int) -> Path:
        return self.dataset.root / self.dataset.paths[row]

    def stop_if_asked(self, path: Path, reason: str) -> None:
        """Raises a DatasetError for an image that cannot be used, where that is to end it all."""
        if self.options.stop_at_failure:
            raise DatasetError(
                f"Stopped at the first image that cannot be used. Expected an image that Pillow "
                f"can decode. Received: {path}: {reason}\nWhat was finished is kept. Repair or "
                "remove the image, or say `on_error='skip'`."
            )


@dataclass(frozen=True)
class _Computed:
    """Rows that this run computed, and the seconds that it took; for a shard, rows to compare."""

    sources: list[RowSource] = field(default_factory=list)
    seconds: float = 0.0
    compared: ComparedRows | None = None


def update_features(
    dataset: Dataset,
    recipe: Recipe,
    target: Path,
    make_embedder: MakeEmbedder,
    options: UpdateOptions = UpdateOptions(),
    on_progress: OnProgress = lambda stage, done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> ExtractSummary:
    """Brings `target` up to date with the data set.

    Args:
        make_embedder: called with a batch size (None = choose) if and only if there is
            something to compute, so that nothing heavy is imported otherwise. Where
            `options.workers` are processes it is called in each of them, and must be picklable.
        on_progress: called with a stage, the number done and the number to do.
        on_note: called with what people should know while they wait.

    Raises:
        LockedError: another process writes the same target.
        FeatureFileError: the existing file is damaged or belongs to another data set.
        EngineError: rows of another engine are there, which differ by more than rounding does.
        StorageError: it cannot be written; what was computed is kept in the parts.
        DatasetError: not one image could be used, or the first that could not stops it.
    """
    started = time.perf_counter()
    summary = ExtractSummary(target, n_images=len(dataset))

    def tell(note: str) -> None:
        summary.notes.append(note)
        on_note(note)

    job = _Job(dataset, recipe, target, make_embedder, options, tell, on_progress)
    with hold_lock(target):
        old = _read_existing(job)
        found = _find_rows(job, old)
        identity = _identify(job, old)
        share = None
        if options.shard is not None:
            share = take_share(dataset, identity, options.shard)
            job, identity = replace(job, dataset=share.dataset), share.identity
            summary.n_images = len(share.dataset)
            tell(share.dataset.notes[-1])
        computed = _compute(job, old, found, identity, share)
        finished = FinishedRows(found.sources + computed.sources)
        identity.skip_unfinished(finished, job.keys)
        for note in describe_brightness(identity.reasons.values()):
            tell(note)
        contents = plan_contents(
            job.dataset,
            recipe,
            identity,
            old,
            finished,
            prune=options.prune,
            weights_source=options.weights_source,
            views=options.views,
        )
        if share is not None and computed.compared is not None:
            contents = replace(
                contents, shard=share.record(computed.compared, finished.count_features())
            )
        summary.is_unchanged = old is not None and contents.says_the_same(old)
        if not summary.is_unchanged:
            _write(job, contents, finished)
        remove_notes(job.parts_folder)
        remove_parts(job.parts_folder, finished.sources)
    count_images(summary, contents, finished, old)
    summary.compute_seconds = computed.seconds
    summary.seconds = time.perf_counter() - started
    summary.bytes = target.stat().st_size
    return summary


def _read_existing(job: _Job) -> Contents | None:
    options = job.options
    return read_existing(
        job.target,
        job.recipe,
        job.dataset.root,
        is_moved=options.moved,
        shard=options.shard,
        views=options.views,
    )


def _find_rows(job: _Job, old: Contents | None) -> Found:
    found = find_rows(
        job.target,
        job.parts_folder,
        job.recipe,
        old,
        reuse=job.options.reuse,
        engine=job.options.engine,
        views=job.options.views,
    )
    for note in found.notes:
        job.tell(note)
    if n_resumed := found.count("resumed"):
        job.tell(f"Found {n_resumed:,} finished rows of an interrupted run.")
    return found


def _identify(job: _Job, old: Contents | None) -> Identity:
    options = job.options

    def is_retried(reason: str) -> bool:
        has_limits = options.limits is not None
        return options.retry_skipped or (has_limits and reason.startswith("too large"))

    identity = identify_images(
        job.dataset,
        None if old is None else read_whole(old),
        rehash=options.rehash,
        limits=options.limits or DEFAULT_LIMITS,
        retry=is_retried,
        on_progress=job.on_progress,
    )
    for row, reason in sorted(identity.reasons.items()):
        job.stop_if_asked(job.path_of(row), reason)
    return identity


def _compute(
    job: _Job, old: Contents | None, found: Found, identity: Identity, share: Share | None
) -> _Computed:
    """Computes what no source has, after a look whether engines would be mixed."""
    finished = FinishedRows(found.sources)

    def compare(embedding: EmbedFiles | None) -> ComparedRows | None:
        if share is None:
            return None
        limits = job.options.limits or DEFAULT_LIMITS
        return share.compare(job.recipe, limits, finished, old, embedding)

    missing, numbers = job.keys.find_all_missing(identity.digests, identity.reasons, finished)
    kept = None if job.options.prune else old
    origins = find_origins(finished, identity.digests, kept)
    if not missing and len(origins) <= 1:
        return _Computed(compared=compare(None))
    settings = _settle_reading(job, numbers)
    if share is None and not origins and _give_all_up(job, missing, identity, settings):
        return _Computed()
    _say_if_dark(job, missing)
    with open_embedding(
        job.make_embedder,
        found.list_engines(),
        settings,
        job.options.batch_size,
        job.options.workers,
        job.tell,
    ) as embedding:
        for origin in origins:
            if not origin.computes_like(embedding.record):
                sample = _draw_sample(job, origin, old, identity, finished)
                job.tell(describe_mixture(origin, sample, embedding))
        compared = compare(embedding)
        if not missing:
            return _Computed(compared=compared)
        computed = _embed(job, missing, numbers, identity, embedding, found.next_part)
        return replace(computed, compared=compared)


def _give_all_up(
    job: _Job, missing: list[int], identity: Identity, settings: ReaderSettings
) -> bool:
    """Whether not one image can be used, which needs no engine to be found out."""
    unusable = find_all_unusable(map(job.path_of, missing), settings)
    if unusable is None:
        return False
    for row, (digest, reason) in zip(missing, unusable, strict=True):
        job.stop_if_asked(job.path_of(row), reason)
        identity.give_up(row, digest, reason)
    return True


def _say_if_dark(job: _Job, missing: list[int]) -> None:
    """Says before anything is computed whether the 16-bit images of the data set are all dark."""
    if job.recipe.depth != FULL_DEPTH:
        return
    limits = job.options.limits or DEFAULT_LIMITS
    depths = Depths()
    for rows in (missing, sorted({*range(len(job.dataset))} - {*missing})):
        paths = [job.path_of(row) for row in rows]
        depths += measure_depths(paths, job.recipe, limits, job.on_progress)
        if depths.greatest in (0, FULL_DEPTH):
            return
    for note in describe_darkness(depths):
        job.tell(note)


def _draw_sample(
    job: _Job, origin: Origin, old: Contents | None, identity: Identity, finished: FinishedRows
) -> Sample:
    """The old file's probes; images of the data set where the rows lie elsewhere."""
    if old is not None and len(old.probe_rows) and origin.is_of(old.engines):
        return sample_probes(job.target, old)
    paths = [job.path_of(row) for row in origin.rows]
    return sample_images(paths, identity.digests[origin.rows], job.recipe, finished)


def _embed(
    job: _Job,
    missing: list[int],
    numbers: list[int],
    identity: Identity,
    embedding: EmbedFiles,
    next_part: int,
) -> _Computed:
    n_rows, side = len(job.dataset), job.recipe.image_size
    probe_bytes = 3 * side * side * min(N_PROBES, n_rows)
    n_features, n_views = embedding.n_features, len(job.keys.numbers)
    job.tell(describe_room(job.target, len(missing), n_rows, n_views * n_features, probe_bytes))

    writer = PartWriter(job.parts_folder, job.recipe, embedding.record, next_part)
    started = time.perf_counter()
    for position, digest, reason in embed_into_parts(
        (job.path_of(row) for row in missing),
        len(missing),
        embedding,
        writer,
        job.stop_if_asked,
        job.on_progress,
        n_views=len(numbers),
        name_rows=partial(job.keys.name, numbers=numbers),
    ):
        identity.give_up(missing[position], digest, reason)
    seconds = time.perf_counter() - started
    if seconds >= _ADVISE_AFTER_SECONDS:
        for advice in embedding.advise():
            job.tell(advice)
    return _Computed(writer.sources, seconds)


def _write(job: _Job, contents: Contents, finished: FinishedRows) -> None:
    blocks = finished.gather(contents.images.digests)
    write_contents(job.target, with_probes(contents, job.dataset), finished, blocks)


def _settle_reading(job: _Job, numbers: list[int]) -> ReaderSettings:
    """How the views of these numbers are read."""
    suspects = read_notes(job.parts_folder)
    if suspects:
        job.tell(
            f"The last run ended while it decoded {count(len(suspects), 'image')}; each of them is "
            "decoded in a process of its own now."
        )
    settings = ReaderSettings(
        job.recipe,
        job.options.limits or DEFAULT_LIMITS,
        job.parts_folder,
        suspects,
        isolate=job.options.isolate,
        seconds=job.options.isolate_seconds,
    )
    if job.options.views is None or not numbers:
        return settings
    read = ReadViews(job.options.views, tuple(numbers))
    return replace(settings, read=read, shape=read.shape(job.recipe))
