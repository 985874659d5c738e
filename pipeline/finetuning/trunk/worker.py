"""Fills the trunk cache in a child process, where each operation runs on one thread.

TensorFlow's thread settings hold for a whole process; training needs all threads for one
operation, embedding one thread each for many.
"""

import time
from collections.abc import Callable, Iterator
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
    Trunk,
    block_rows,
    find_finished,
    key_of,
    write_trunk_cache,
)
from pipeline.images.augmentation.augment import Augmentation, number_images
from pipeline.images.decoding.read_images import NO_LIMITS, read_image
from pipeline.runs.run_folder import Run
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
# Batches that each stream is measured on.
MEASURED_TASKS = 8

Missing = tuple[int, list[int]]  # an image, and its views that have no row


@dataclass(frozen=True)
class TrunkJob:
    """What to embed.

    Args:
        target: the trunk cache.
        run: whose model the trunk is taken from.
        weights: where the backbone's weights lie now, None for where they came from.
        device: as on the command line.
        preset, flip, seed: of the augmentation.
        paths, digests: the images.
        views: for each image, the views that are wanted.
    """

    target: Path
    trunk: Trunk
    run: Run
    weights: str | None
    device: str
    preset: str
    flip: bool
    seed: int
    paths: list[Path]
    digests: np.ndarray  # uint8 (n_images, 32)
    views: list[list[int]]

    def find_missing(self, finished: FinishedRows) -> list[Missing]:
        """What has no row yet; of equal images the first."""
        missing: list[Missing] = []
        seen: set[bytes] = set()
        for image, views in enumerate(self.views):
            wanted = []
            for view in views:
                key = key_of(self.digests[image], view).tobytes()
                if key not in finished and key not in seen:
                    seen.add(key)
                    wanted.append(view)
            if wanted:
                missing.append((image, wanted))
        return missing

    def keys(self) -> np.ndarray:
        """uint8 (n_different_rows, 32) of all that is wanted, in order."""
        unique = dict.fromkeys(
            key_of(self.digests[image], view).tobytes()
            for image, views in enumerate(self.views)
            for view in views
        )
        return np.frombuffer(b"".join(unique), np.uint8).reshape(-1, 32)


@dataclass(frozen=True)
class TrunkPace:
    """What was measured.

    Args:
        start_seconds: from the start of the child to the end of the measuring.
        row_seconds: of a row as it will be computed, all streams being busy.
    """

    start_seconds: float
    row_seconds: float


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
        """Times some of what is missing, from decoding on; keeps nothing of it.

        Raises:
            FrostlineError: what went wrong in the child.
        """
        row_seconds: float = self._ask(measure_rows)
        return TrunkPace(time.perf_counter() - self._started, row_seconds)

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


def measure_rows(job: TrunkJob) -> float:
    """Seconds of a row where all streams are busy; to be called in the child."""
    found = find_finished(job.target, job.trunk)
    missing = job.find_missing(FinishedRows(found.sources))
    embed = _open_embedder(job, found.batch_size)
    n_views = max(len(views) for _, views in missing)
    tasks = divide(job, missing, embed, -(-embed.batch_size // n_views))
    n_tasks = min(len(tasks.batches), (1 + MEASURED_TASKS) * tasks.n_streams)
    chosen = np.linspace(0, len(tasks.batches) - 1, n_tasks).astype(int)
    some = [tasks.batches[number] for number in chosen]
    n_rows, since = 0, time.perf_counter()
    for number, (keys, _) in enumerate(_run(job, some, embed, tasks.n_streams)):
        if number < tasks.n_streams and number < n_tasks - 1:  # the first call takes longer
            since = time.perf_counter()
        else:
            n_rows += len(keys)
    return (time.perf_counter() - since) / n_rows


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
    network = Network(partial(_build_trunk, job), identity=_identify(job), store=NetworkStore())
    device = choose_device(job.device, is_proven=True)
    return open_embedder(network, device, batch_size=batch_size, is_alone=True)


def _identify(job: TrunkJob) -> str:
    model = job.trunk.model_sha256
    whole = name_finetuned(model) if model else identify_network(job.run.recipe)
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
        for keys, values in _run(job, tasks.batches, embed, tasks.n_streams):
            for key, row in zip(keys, values, strict=True):
                writer.add(key, row)
            done += len(keys)
            on_progress("Trunk cache", done, total)
    finally:
        writer.flush()


def _run(
    job: TrunkJob, batches: list[list[Missing]], embed: Embed, n_streams: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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
