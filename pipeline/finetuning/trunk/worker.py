"""Fills the trunk cache in a child process, where each operation runs on one thread.

TensorFlow's thread settings hold for a whole process; training needs all threads for one
operation, embedding one thread each for many.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

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
from pipeline.images.decoding.read_images import NO_LIMITS, read_image
from pipeline.runs.run_folder import Run
from pipeline.system.child_process import ChildFailedError, ChildLostError, HelperProcess
from pipeline.system.locks import hold_lock
from pipeline.system.parallel import map_batches
from pipeline.system.progress import OnProgress

if TYPE_CHECKING:
    from pipeline.backbones.engines.embedder import Embedder
    from pipeline.finetuning.augment import Augmentation

GREATEST_FLOAT16 = 65504.0

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


def fill_trunk_cache(job: TrunkJob, on_progress: OnProgress) -> list[str]:
    """Brings the trunk cache up to date in a child process; returns what people should know.

    Raises:
        FrostlineError: what went wrong in the child.
    """
    # What TensorFlow says at its start is of no use to anyone.
    with HelperProcess(is_quiet=True) as helper:
        try:
            notes: list[str] = helper.call(embed_missing, job, on_progress=on_progress)
        except ChildLostError as lost:
            raise FrostlineError(
                f"The process that fills the trunk cache ended early: {lost}. Out of memory, "
                "perhaps. What was finished is kept. Try again, or say `trunk_cache=False`."
            ) from lost
        except ChildFailedError as failed:
            raise FrostlineError(f"The trunk cache could not be filled:\n{failed}") from failed
    return notes


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
            embed = _build_embedder(job, batch_size)
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


def _build_embedder(job: TrunkJob, batch_size: int | None) -> "Embedder":
    """The trunk as an embedder of flat rows."""
    from pipeline.backbones.engines.device import choose_device
    from pipeline.backbones.engines.opening import open_model
    from pipeline.backbones.frost_lines import split_at
    from pipeline.backbones.keras_settings import keras_settings
    from pipeline.classifier.build import load_classifier
    from pipeline.system.keras_on_tensorflow import keras

    device = choose_device(job.device)
    with keras_settings():
        classifier = load_classifier(job.run, job.weights, "float32")
        trunk, _ = split_at(classifier.get_layer("backbone"), job.trunk.line)
        x = trunk(classifier.get_layer("preprocessing")(classifier.input), training=False)
        model = keras.Model(classifier.input, keras.layers.Flatten()(x))
    return open_model(model, device, batch_size=batch_size, is_alone=True)


def _compute(
    job: TrunkJob,
    missing: list[Missing],
    embed: Embed,
    writer: PartWriter,
    on_progress: OnProgress,
) -> None:
    from pipeline.finetuning.augment import Augmentation

    augment = Augmentation(job.preset, flip=job.flip, seed=job.seed)
    batches = [
        missing[start : start + embed.images_per_task]
        for start in range(0, len(missing), embed.images_per_task)
    ]
    total, done = sum(len(views) for _, views in missing), 0
    on_progress("Trunk cache", 0, total)
    try:
        for keys, values in map_batches(
            lambda batch: _embed_batch(job, batch, embed, augment), batches, embed.n_streams
        ):
            for key, row in zip(keys, values, strict=True):
                writer.add(key, row)
            done += len(keys)
            on_progress("Trunk cache", done, total)
    finally:
        writer.flush()


def _embed_batch(
    job: TrunkJob, batch: list[Missing], embed: Embed, augment: "Augmentation"
) -> tuple[np.ndarray, np.ndarray]:
    """Keys and float16 rows of some images' views."""
    from pipeline.finetuning.augment import number_images

    pixels = np.stack([_read_checked(job, image) for image, _ in batch])
    keys, values = [], []
    for view in sorted({view for _, views in batch for view in views}):
        here = [place for place, (_, views) in enumerate(batch) if view in views]
        images = [batch[place][0] for place in here]
        shown = pixels[here]
        if view > 0:
            numbers = number_images(job.digests[images])
            shown = np.rint(augment(shown, numbers, view)).astype(np.uint8)
        rows = embed(shown)
        greatest = float(np.abs(rows).max())
        if not greatest <= GREATEST_FLOAT16:
            raise FrostlineError(
                f"The trunk's output at {job.trunk.line} does not fit float16. Expected values up "
                f"to {GREATEST_FLOAT16:g}. Received: {greatest:g}\nTrain with `trunk_cache=False`, "
                "or from another frost line."
            )
        keys += [key_of(job.digests[image], view) for image in images]
        values.append(rows.astype(np.float16))
    return np.stack(keys), np.concatenate(values)


def _read_checked(job: TrunkJob, image: int) -> np.ndarray:
    digest, decoded = read_image(job.paths[image], job.run.recipe, NO_LIMITS)
    if isinstance(decoded, str) or not np.array_equal(digest, job.digests[image]):
        reason = decoded if isinstance(decoded, str) else "its bytes changed meanwhile"
        raise DatasetError(
            f"This image cannot be used any more: {reason}. Received: {job.paths[image]}\n"
            "Run extract again and fit the head anew."
        )
    return decoded
