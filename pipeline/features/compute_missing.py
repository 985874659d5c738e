"""The middle of stage one: rows that no source has are computed, into parts that survive a kill."""

import time
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from pipeline.features.assemble import N_PROBES
from pipeline.features.depth import describe_darkness
from pipeline.features.embed import EmbedFiles, embed_into_parts
from pipeline.features.feature_file import Contents
from pipeline.features.finished_rows import FinishedRows, Found, PartWriter, RowSource
from pipeline.features.identify import Identity
from pipeline.features.mixing import (
    Origin,
    Sample,
    describe_mixture,
    find_origins,
    sample_images,
    sample_probes,
)
from pipeline.features.open_embedding import open_embedding
from pipeline.features.room import describe_room
from pipeline.features.spread.shards import ComparedRows
from pipeline.features.spread.share import Share
from pipeline.features.update_job import UpdateJob
from pipeline.images.augmentation.read_views import ReadViews
from pipeline.images.decoding.measure_depth import Depths, measure_depths
from pipeline.images.decoding.read_batches import ReaderSettings, find_all_unusable, read_notes
from pipeline.images.decoding.read_images import DEFAULT_LIMITS
from pipeline.recipe import FULL_DEPTH
from pipeline.system.printable import count

_ADVISE_AFTER_SECONDS = 20.0  # before that, what is faster saves nobody's time


@dataclass(frozen=True)
class Computed:
    """Rows that this run computed, and the seconds that it took; for a shard, rows to compare."""

    sources: list[RowSource] = field(default_factory=list)
    seconds: float = 0.0
    compared: ComparedRows | None = None


def compute_missing(
    job: UpdateJob, old: Contents | None, found: Found, identity: Identity, share: Share | None
) -> Computed:
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
    if not len(missing) and len(origins) <= 1:
        return Computed(compared=compare(None))
    settings = _settle_reading(job, numbers)
    if share is None and not origins and _give_all_up(job, missing, identity, settings):
        return Computed()
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
        if not len(missing):
            return Computed(compared=compared)
        computed = _embed(job, missing, numbers, identity, embedding, found.next_part)
        return replace(computed, compared=compared)


def _give_all_up(
    job: UpdateJob, missing: np.ndarray, identity: Identity, settings: ReaderSettings
) -> bool:
    """Whether not one image can be used, which needs no engine to be found out."""
    unusable = find_all_unusable(map(job.path_of, missing), settings)
    if unusable is None:
        return False
    for row, (digest, reason) in zip(missing.tolist(), unusable, strict=True):
        job.stop_if_asked(job.path_of(row), reason)
        identity.give_up(row, digest, reason)
    return True


def _say_if_dark(job: UpdateJob, missing: np.ndarray) -> None:
    """Says before anything is computed whether the 16-bit images of the data set are all dark."""
    if job.recipe.depth != FULL_DEPTH:
        return
    limits = job.options.limits or DEFAULT_LIMITS
    depths = Depths()
    others = np.setdiff1d(np.arange(len(job.dataset)), missing)
    for rows in (missing, others):
        paths = map(job.path_of, rows)
        depths += measure_depths(paths, len(rows), job.recipe, limits, job.on_progress)
        if depths.greatest in (0, FULL_DEPTH):
            return
    for note in describe_darkness(depths):
        job.tell(note)


def _draw_sample(
    job: UpdateJob, origin: Origin, old: Contents | None, identity: Identity, finished: FinishedRows
) -> Sample:
    """The old file's probes; images of the data set where the rows lie elsewhere."""
    if old is not None and len(old.probe_rows) and origin.is_of(old.engines):
        return sample_probes(job.target, old)
    paths = [job.path_of(row) for row in origin.rows]
    return sample_images(paths, identity.digests[origin.rows], job.recipe, finished)


def _embed(
    job: UpdateJob,
    missing: np.ndarray,
    numbers: list[int],
    identity: Identity,
    embedding: EmbedFiles,
    next_part: int,
) -> Computed:
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
        identity.give_up(int(missing[position]), digest, reason)
    seconds = time.perf_counter() - started
    if seconds >= _ADVISE_AFTER_SECONDS:
        for advice in embedding.advise():
            job.tell(advice)
    return Computed(writer.sources, seconds)


def _settle_reading(job: UpdateJob, numbers: list[int]) -> ReaderSettings:
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
