"""Shards of a data set to the one feature file that a single machine would have written.

The tables are made as `extract` makes them, of what the shards saw; the rows are copied block by
block. A file that is there already is brought up to date, so arrivals and splits stay.
"""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from pipeline.errors import FeatureFileError
from pipeline.features.assemble import plan_contents, write_contents
from pipeline.features.existing import read_existing
from pipeline.features.extract import default_target
from pipeline.features.feature_file import Contents
from pipeline.features.finished_rows import FinishedRows, RowSource, sources_of
from pipeline.features.identify import Identity
from pipeline.features.opened_file import Extraction
from pipeline.features.room import describe_room
from pipeline.features.row_keys import RowKeys
from pipeline.features.spread.compare_shards import describe_engines
from pipeline.features.spread.merged_probes import with_merged_probes
from pipeline.features.spread.read_shards import ReadShards, read_shards
from pipeline.features.summary import ExtractSummary, count_images
from pipeline.images.dataset import Dataset
from pipeline.system.locks import hold_lock
from pipeline.system.paths import as_path
from pipeline.system.progress import OnProgress


def merge(
    files: Iterable[str | os.PathLike[str]],
    *,
    output: str | os.PathLike[str] | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
    on_note: Callable[[str], None] = lambda note: None,
) -> Extraction:
    """Makes one feature file of all shards of a data set.

    Its tables and features are those that one machine's `extract` gives, bit for bit, where the
    same engine computed all shards. The data set is needed for the probe images only; where it is
    not there, the shards' own take their place, which is said.

    Args:
        files: what `extract` with `shard` wrote, each shard once, in any order.
        output: the feature file, None for the name in `cache/` that `extract` would have chosen.
            One that is there is brought up to date.
        on_progress: called with a stage, the number done and the number to do.
        on_note: called with what people should know.

    Returns:
        The feature file and what is in it.

    Raises:
        FeatureFileError: a file is no shard, is damaged or of another recipe; a shard is missing or
            there twice; or the shards saw different images.
        EngineError: rows of several engines differ by more than rounding does.
        LockedError: another process writes the same output.
        StorageError: it cannot be written; what was there before still is.

    Example:
        >>> merge(["a.h5", "b.h5", "c.h5"], output="all.h5")  # doctest: +SKIP
    """
    started = time.perf_counter()
    paths = [as_path(file, "files") for file in files]
    chosen = None if output is None else as_path(output, "output")
    shards = read_shards(paths, on_progress)
    first = shards.first
    target = chosen or default_target(first.data_name, first.recipe, views=first.views)
    dataset, identity = _restore(shards)
    summary = ExtractSummary(target, n_images=len(dataset))

    def tell(note: str) -> None:
        summary.notes.append(note)
        on_note(note)

    for note in shards.notes:
        tell(note)
    with hold_lock(target):
        old = read_existing(target, first.recipe, dataset.root, is_moved=None, views=first.views)
        for note in describe_engines(shards, target, old):
            tell(note)
        finished = FinishedRows(_list_sources(shards, target, old))
        _require_all_rows(identity, finished, shards)
        contents = plan_contents(
            dataset,
            first.recipe,
            identity,
            old,
            finished,
            prune=False,
            weights_source=first.weights_source,
            views=first.views,
        )
        summary.is_unchanged = old is not None and contents.says_the_same(old)
        if not summary.is_unchanged:
            contents = with_merged_probes(contents, dataset, shards, tell)
            _write(target, contents, finished, shards, on_progress)
    count_images(summary, contents, finished, old)
    summary.seconds = time.perf_counter() - started
    summary.bytes = target.stat().st_size
    return Extraction(target, summary)


def _restore(shards: ReadShards) -> tuple[Dataset, Identity]:
    """The data set as all shards saw it, and what is known of its images."""
    first, seen = shards.first, shards.seen
    images, root = seen.images, Path(first.data_root)
    dataset = Dataset(
        name=first.data_name,
        source=root,
        root=root,
        paths=images.paths,
        labels=seen.labels,
        splits=seen.splits,
        sizes=images.sizes,
        mtimes=images.mtimes,
        class_names=first.class_names,
    )
    reasons = {path: reason for part in shards.parts for path, reason in part.reasons.items()}
    of_rows = {row: reasons[path] for row, path in enumerate(images.paths) if path in reasons}
    return dataset, Identity(images.digests, of_rows, images.stamps)


def _list_sources(shards: ReadShards, target: Path, old: Contents | None) -> list[RowSource]:
    """Rows of the file that is there come first, as when `extract` goes on with it."""
    views = shards.first.views
    sources = [] if old is None else sources_of(target, old, "kept", views)
    for part in shards.parts:
        engines = tuple(part.engines)
        sources.append(RowSource(part.path, "features", part.digests, "reused", engines))
        if views is not None:
            keys = RowKeys(views).of_views(part.digests)
            sources.append(RowSource(part.path, "views", keys, "reused", engines))
    return sources


def _require_all_rows(identity: Identity, finished: FinishedRows, shards: ReadShards) -> None:
    for row in np.flatnonzero(~finished.have(identity.digests)).tolist():
        if row not in identity.reasons:
            raise FeatureFileError(
                f"No shard has features of {shards.seen.images.paths[row]}, and none says why. "
                "Expected each image in one of them. Received: "
                f"{', '.join(str(part.path) for part in shards.parts)}\n"
                "They were changed since they were made: run extract again for each shard."
            )


def _write(
    target: Path,
    contents: Contents,
    finished: FinishedRows,
    shards: ReadShards,
    on_progress: OnProgress,
) -> None:
    row_length = finished.count_features() * len(RowKeys(contents.views).numbers)
    probe_bytes = contents.probe_pixels.nbytes
    # Raises where there is none.
    describe_room(target, 0, len(contents.images), row_length, probe_bytes)
    blocks = _watch(finished.gather(contents.images.digests), contents, shards, on_progress)
    write_contents(target, contents, finished, blocks)


def _watch(
    blocks: Iterator[np.ndarray], contents: Contents, shards: ReadShards, on_progress: OnProgress
) -> Iterator[np.ndarray]:
    """The same blocks; at the end an error if a shard was written anew meanwhile."""
    done, n_images = 0, len(contents.images)
    for block in blocks:
        yield block
        done += len(block)
        on_progress("Merging", done, n_images)
    for part in shards.parts:
        part.require_unchanged()
