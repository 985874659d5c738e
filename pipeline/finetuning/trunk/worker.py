"""Fills the trunk cache in a child process, where each operation runs on one thread.

TensorFlow's thread settings hold for a whole process; training needs all threads for one
operation, embedding one thread each for many.
"""

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.backbones.engines.device import choose_device
from pipeline.backbones.engines.engine import Network, identify_network
from pipeline.backbones.engines.network_store import NetworkStore
from pipeline.backbones.engines.opening import open_embedder
from pipeline.classifier.parts import name_finetuned
from pipeline.errors import DatasetError, FrostlineError
from pipeline.features.embed import Embed
from pipeline.features.finished_rows import (
    FinishedRows,
    PartWriter,
    parts_folder_of,
    remove_parts,
)
from pipeline.finetuning.trunk.cache import (
    block_rows,
    find_finished,
    key_of,
    write_trunk_cache,
)
from pipeline.finetuning.trunk.job import Missing, TrunkJob
from pipeline.images.augmentation.augment import Augmentation, number_images
from pipeline.images.decoding.read_images import NO_LIMITS, read_image
from pipeline.system.child_process import ChildFailedError, ChildLostError, HelperProcess
from pipeline.system.locks import hold_lock
from pipeline.system.parallel import LOOK_AHEAD, map_batches
from pipeline.system.progress import OnProgress
from pipeline.system.quiet_start import no_start_up_talk

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras

GREATEST_FLOAT16 = 65504.0
# What the batches that are under way or wait to be written hold at most, but for the last one.
BYTES_IN_FLIGHT = 1_000_000_000
# What is measured: where others use the machine, too, one second was seen to be off by a third. At
# least so many batches for each stream, and no more than this share of all.
MEASURED_SECONDS = 5.0
MEASURED_TASKS = 4
MEASURED_SHARE = 1 / 3


@dataclass(frozen=True)
class TrunkPace:
    """What was measured.

    Args:
        start_seconds: from the start of the child to the end of the measuring.
        row_seconds: of a row as it will be computed, all streams being busy.
        n_rows: that were computed meanwhile.
    """

    start_seconds: float
    row_seconds: float
    n_rows: int


class TrunkWorker:
    """The child that fills the trunk cache; it opens the network once.

    Args:
        job: what to embed.
    """

    def __init__(self, job: TrunkJob):
        self._job = job
        self._started = time.perf_counter()
        # What TensorFlow says at its start is of no use to anyone.
        self._helper = HelperProcess(is_quiet=True)

    def __enter__(self) -> "TrunkWorker":
        return self

    def __exit__(self, *_: object) -> None:
        self._helper.stop()

    def measure(self) -> TrunkPace:
        """Times the first seconds of the work, from decoding on; these rows are kept in parts.

        Raises:
            FrostlineError: what went wrong in the child.
        """
        row_seconds, n_rows = self._ask(measure_rows)
        return TrunkPace(time.perf_counter() - self._started, row_seconds, n_rows)

    def fill(self, on_progress: OnProgress) -> list[str]:
        """Brings the trunk cache up to date; returns what people should know.

        Raises:
            FrostlineError: what went wrong in the child.
        """
        notes: list[str] = self._ask(embed_missing, on_progress=on_progress)
        return notes

    def _ask(self, function: Callable[..., Any], on_progress: OnProgress | None = None) -> Any:
        try:
            return self._helper.call(function, self._job, on_progress=on_progress)
        except ChildLostError as lost:
            raise FrostlineError(
                f"The process that fills the trunk cache ended early: {lost}. Out of memory, "
                "perhaps. What was finished is kept. Try again, or say `trunk_cache=False`."
            ) from lost
        except ChildFailedError as failed:
            raise FrostlineError(f"The trunk cache could not be filled:\n{failed}") from failed


def fill_trunk_cache(job: TrunkJob, on_progress: OnProgress) -> list[str]:
    """Brings the trunk cache up to date in a child process; returns what people should know.

    Raises:
        FrostlineError: what went wrong in the child.
    """
    with TrunkWorker(job) as worker:
        return worker.fill(on_progress)


def measure_rows(job: TrunkJob) -> tuple[float, int]:
    """Seconds of a row where all streams are busy, and how many were computed meanwhile, which are
    kept in parts; to be called in the child.

    Raises:
        DatasetError, FrostlineError: see `embed_missing`.
    """
    with hold_lock(job.target):
        found = find_finished(job.target, job.trunk)
        missing = job.find_missing(FinishedRows(found.sources))
        embed = _open_embedder(job, found.batch_size)
        n_views = max(len(views) for _, views in missing)
        tasks = divide(job, missing, embed, -(-embed.batch_size // n_views))
        order = np.random.default_rng(0).permutation(len(tasks.batches))
        batches = [tasks.batches[number] for number in order]
        least = min(len(batches), (1 + MEASURED_TASKS) * tasks.n_streams)
        most = max(least, int(MEASURED_SHARE * len(batches)))
        folder = parts_folder_of(job.target)
        writer = PartWriter(folder, job.trunk, embed.record, found.next_part)
        n_rows, n_before, since = 0, 0, time.perf_counter()
        with closing(_run(job, batches[:most], embed, tasks.n_streams)) as results:
            for number, (keys, rows) in enumerate(results, start=1):
                n_rows += _keep(writer, keys, rows)
                if number <= tasks.n_streams and number < most:  # the first call takes longer
                    n_before, since = n_rows, time.perf_counter()
                elif number >= least and time.perf_counter() - since >= MEASURED_SECONDS:
                    break
            writer.flush()
            seconds = time.perf_counter() - since
    return seconds / (n_rows - n_before), n_rows


def embed_missing(job: TrunkJob, on_progress: OnProgress) -> list[str]:
    """Computes what the trunk cache lacks into parts, and makes the one file of them.

    Raises:
        DatasetError: an image is not the one that its digest says.
        FrostlineError: the trunk's output does not fit float16.
    """
    folder = parts_folder_of(job.target)
    with hold_lock(job.target):
        found = find_finished(job.target, job.trunk)
        batch_size = found.batch_size
        finished = FinishedRows(found.sources)
        missing = job.find_missing(finished)
        if missing:
            embed = _open_embedder(job, batch_size)
            batch_size = embed.batch_size
            writer = PartWriter(folder, job.trunk, embed.record, found.next_part)
            _compute(job, missing, embed, writer, on_progress)
            finished = FinishedRows(found.sources + writer.sources)
        kept = [source.digests for source in found.sources if source.kind == "kept"]
        keys = np.unique(np.concatenate([*kept, job.keys()]), axis=0)
        if missing or not kept or len(keys) != len(kept[0]):
            blocks = finished.gather(keys, block_rows(job.trunk))
            write_trunk_cache(job.target, job.trunk, keys, blocks, batch_size or 0)
        remove_parts(folder, finished.sources)
    return found.notes


_opened: dict[Path, "Embed"] = {}


def _open_embedder(job: TrunkJob, batch_size: int | None) -> Embed:
    """The trunk of the one job that this process has; built when it is first needed."""
    if job.target not in _opened:
        _opened[job.target] = _build_embedder(job, batch_size)
    return _opened[job.target]


def _build_embedder(job: TrunkJob, batch_size: int | None) -> Embed:
    """The trunk as an embedder of flat rows; without TensorFlow where it was converted before."""
    build = partial(_build_trunk, job)
    network = Network(build, job.precision, identity=_identify(job), store=NetworkStore())
    device = choose_device(job.device, is_proven=True)
    return open_embedder(network, device, batch_size=batch_size, is_alone=True)


def _identify(job: TrunkJob) -> str:
    model = job.trunk.model_sha256
    recipe = job.run.recipe
    whole = name_finetuned(recipe, model) if model else identify_network(recipe)
    return f"{whole} up to {job.trunk.line}"


def _build_trunk(job: TrunkJob) -> "keras.Model":
    with no_start_up_talk():
        from pipeline.backbones.frost_lines import split_at
        from pipeline.backbones.keras_settings import keras_settings
        from pipeline.classifier.build import load_classifier
        from pipeline.system.keras_on_tensorflow import keras

    with keras_settings():
        classifier = load_classifier(job.run, job.weights, "float32")
        trunk, _ = split_at(classifier.get_layer("backbone"), job.trunk.line)
        x = trunk(classifier.get_layer("preprocessing")(classifier.input), training=False)
        return keras.Model(classifier.input, keras.layers.Flatten()(x))


@dataclass(frozen=True)
class Tasks:
    """Missing rows in batches of images, and how many batches to work on at once."""

    batches: list[list[Missing]]
    n_streams: int


def divide(
    job: TrunkJob, missing: list[Missing], embed: Embed, n_images: int | None = None
) -> Tasks:
    """Batches for the streams, of no more bytes in all than `BYTES_IN_FLIGHT`.

    Args:
        n_images: of a batch, None for as many as suit the embedder.
    """
    n_views = max(len(views) for _, views in missing)
    # Pixels, and rows in float32 and in float16.
    row_bytes = 3 * job.run.recipe.image_size**2 + 3 * job.trunk.row_bytes
    most_rows = max(1, BYTES_IN_FLIGHT // (LOOK_AHEAD * row_bytes))
    if n_images is None:
        n_images = -(-embed.images_per_task // n_views)
    n_images = max(1, min(n_images, most_rows // n_views))
    n_streams = max(1, min(embed.n_streams, most_rows // (n_images * n_views)))
    starts = range(0, len(missing), n_images)
    return Tasks([missing[start : start + n_images] for start in starts], n_streams)


def _compute(
    job: TrunkJob,
    missing: list[Missing],
    embed: Embed,
    writer: PartWriter,
    on_progress: OnProgress,
) -> None:
    tasks = divide(job, missing, embed)
    total, done = sum(len(views) for _, views in missing), 0
    on_progress("Trunk cache", 0, total)
    try:
        for keys, rows in _run(job, tasks.batches, embed, tasks.n_streams):
            done += _keep(writer, keys, rows)
            on_progress("Trunk cache", done, total)
    finally:
        writer.flush()


def _keep(writer: PartWriter, keys: np.ndarray, rows: np.ndarray) -> int:
    """Hands rows to a writer; how many."""
    for key, row in zip(keys, rows, strict=True):
        writer.add(key, row)
    return len(keys)


def _run(
    job: TrunkJob, batches: list[list[Missing]], embed: Embed, n_streams: int
) -> Generator[tuple[np.ndarray, np.ndarray], None, None]:
    augment = Augmentation(job.preset, flip=job.flip, seed=job.seed)
    return map_batches(lambda batch: _embed_batch(job, batch, embed, augment), batches, n_streams)


def _embed_batch(
    job: TrunkJob, batch: list[Missing], embed: Embed, augment: Augmentation
) -> tuple[np.ndarray, np.ndarray]:
    """Keys and float16 rows of some images' views."""
    pixels = np.stack([_read_checked(job, image) for image, _ in batch])
    keys, shown = [], []
    for view in sorted({view for _, views in batch for view in views}):
        here = [place for place, (_, views) in enumerate(batch) if view in views]
        images = [batch[place][0] for place in here]
        seen = pixels[here]
        if view > 0:
            numbers = number_images(job.digests[images])
            seen = np.rint(augment(seen, numbers, view)).astype(np.uint8)
        keys += [key_of(job.digests[image], view) for image in images]
        shown.append(seen)
    rows = embed(np.concatenate(shown))
    greatest = float(np.abs(rows).max())
    if not greatest <= GREATEST_FLOAT16:
        raise FrostlineError(
            f"The trunk's output at {job.trunk.line} does not fit float16. Expected values up "
            f"to {GREATEST_FLOAT16:g}. Received: {greatest:g}\nTrain with `trunk_cache=False`, "
            "or from another frost line."
        )
    return np.stack(keys), rows.astype(np.float16)


def _read_checked(job: TrunkJob, image: int) -> np.ndarray:
    digest, decoded = read_image(job.paths[image], job.run.recipe, NO_LIMITS)
    if isinstance(decoded, str) or not np.array_equal(digest, job.digests[image]):
        reason = decoded if isinstance(decoded, str) else "its bytes changed meanwhile"
        raise DatasetError(
            f"This image cannot be used any more: {reason}. Received: {job.paths[image]}\n"
            "Run extract again and fit the head anew."
        )
    return decoded
