"""Stage one: bring the feature file of a data set up to date, computing only what is missing.

Identify (which image is which, by digest), compute what no source has (into part files that
survive a kill), assemble (one new feature file), in this order.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pipeline.features.assemble import plan_contents, with_probes, write_contents
from pipeline.features.compute_missing import compute_missing
from pipeline.features.depth import describe_brightness
from pipeline.features.embed import MakeEmbedder
from pipeline.features.existing import read_existing
from pipeline.features.feature_file import Contents
from pipeline.features.finished_rows import FinishedRows, Found, find_rows, remove_parts
from pipeline.features.identify import Identity, identify_images
from pipeline.features.spread.share import read_whole, take_share
from pipeline.features.summary import ExtractSummary, count_images
from pipeline.features.update_job import DEFAULT_OPTIONS, UpdateJob, UpdateOptions
from pipeline.images.dataset import Dataset
from pipeline.images.decoding.read_batches import remove_notes
from pipeline.images.decoding.read_images import DEFAULT_LIMITS
from pipeline.recipe import Recipe
from pipeline.system.locks import hold_lock
from pipeline.system.progress import OnProgress


def update_features(
    dataset: Dataset,
    recipe: Recipe,
    target: Path,
    make_embedder: MakeEmbedder,
    options: UpdateOptions = DEFAULT_OPTIONS,
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

    job = UpdateJob(dataset, recipe, target, make_embedder, options, tell, on_progress)
    with hold_lock(target):
        old = _read_existing(job)
        n_known = None if old is None else len(old.images) + len(old.skipped)
        if options.opens_ahead and n_known is not None and len(dataset) > n_known:
            job = job.opening_ahead()
        found = _find_rows(job, old)
        identity = _identify(job, old)
        share = None
        if options.shard is not None:
            share = take_share(dataset, identity, options.shard)
            job, identity = replace(job, dataset=share.dataset), share.identity
            summary.n_images = len(share.dataset)
            tell(share.dataset.notes[-1])
        computed = compute_missing(job, old, found, identity, share)
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


def _read_existing(job: UpdateJob) -> Contents | None:
    options = job.options
    return read_existing(
        job.target,
        job.recipe,
        job.dataset.root,
        is_moved=options.moved,
        shard=options.shard,
        views=options.views,
    )


def _find_rows(job: UpdateJob, old: Contents | None) -> Found:
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
        job.tell(f"Found {n_resumed:,} finished rows of an interrupted run or a probe.")
    return found


def _identify(job: UpdateJob, old: Contents | None) -> Identity:
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


def _write(job: UpdateJob, contents: Contents, finished: FinishedRows) -> None:
    blocks = finished.gather(contents.images.digests)
    write_contents(job.target, with_probes(contents, job.dataset), finished, blocks)
