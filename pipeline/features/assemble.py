"""What the new feature file will say: its tables, from the data set and the old file."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipeline.errors import DatasetError
from pipeline.features.enter_images import enter_images
from pipeline.features.entries import Entries, LabelledImages
from pipeline.features.feature_file import Contents, write_features
from pipeline.features.finished_rows import BLOCK_ROWS, FinishedRows
from pipeline.features.identify import Identity
from pipeline.features.image_table import ImageTable
from pipeline.features.mixing import list_engines
from pipeline.features.row_keys import RowKeys
from pipeline.images.augmentation.views import Views
from pipeline.images.dataset import Dataset
from pipeline.images.decoding.read_images import NO_LIMITS, read_image
from pipeline.images.split_rules import EXACT
from pipeline.recipe import Recipe
from pipeline.system.paths import is_file
from pipeline.system.versions import list_versions

N_PROBES = 8


def plan_contents(
    dataset: Dataset,
    recipe: Recipe,
    identity: Identity,
    old: Contents | None,
    finished: FinishedRows,
    *,
    prune: bool,
    weights_source: str,
    views: Views | None = None,
) -> Contents:
    """The new file's tables, without probes.

    Args:
        identity: every image has a finished row or a reason why it has none.
        old: the tables of the file so far.
        finished: all rows that there are.
        prune: forget the rows of images that are gone.
        views: of each image; None = view 0 alone.

    Raises:
        DatasetError: not one image can be used.
    """
    skipped = np.array(sorted(identity.reasons), np.int64)
    usable = np.setdiff1d(np.arange(len(dataset)), skipped)
    if len(usable) == 0:
        raise _refuse_all(dataset, [identity.reasons[row] for row in skipped.tolist()])
    digests = identity.digests[usable]
    arrivals = {} if old is None else _list_arrivals(old)
    entries = None if old is None else old.known_entries
    now = _count_extractions(arrivals, entries)
    retired = [] if old is None or prune else _find_retired(digests, old)
    retired_digests = np.frombuffer(b"".join(retired), np.uint8).reshape(-1, 32)
    keys = RowKeys(views).of_all(np.concatenate([digests, retired_digests]))
    engines = list_engines(finished, keys)
    images = _images_at(dataset, identity, usable)
    labels, splits = dataset.labels[usable], dataset.splits[usable]
    found = LabelledImages(images.paths, digests, labels, splits, dataset.class_names)
    return Contents(
        recipe=recipe,
        images=images,
        labels=labels,
        splits=splits,
        arrivals=np.array([arrivals.get(digest.tobytes(), now) for digest in digests], np.int32),
        class_names=dataset.class_names,
        skipped=_images_at(dataset, identity, skipped),
        reasons=[identity.reasons[row] for row in skipped.tolist()],
        retired=retired_digests,
        retired_arrivals=np.array([arrivals[digest] for digest in retired], np.int32),
        data_root=str(dataset.root.resolve()),
        data_name=dataset.name,
        weights_source=weights_source,
        batch_size=engines[-1].batch_size,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        software=list_versions(("tensorflow", "keras", "numpy", "pillow", "h5py")),
        engines=engines,
        entries=enter_images(found, now, entries, None if old is None else old.labelled_images),
        split_rule=EXACT if old is None else old.split_rule,
        views=views,
    )


def _refuse_all(dataset: Dataset, reasons: list[str]) -> DatasetError:
    """The error for a data set of which not one image can be used.

    Args:
        reasons: of each image.
    """
    first = dataset.paths[0]
    if is_file(dataset.source) and not any(map(is_file, (dataset.root / p for p in dataset.paths))):
        return DatasetError(
            f"Not one of the {len(dataset):,} files that this list names is there. Expected paths "
            f"relative to the list's folder, {dataset.root.resolve()}. Received: {dataset.source}, "
            f"whose {first} would be {dataset.root.resolve() / first}\nCorrect the paths, or put "
            "the list where they lead to the images."
        )
    return DatasetError(
        f"Not one of the {len(dataset):,} images could be used. Expected images that Pillow can "
        f"decode. Received: {dataset.source}\nThe first: {first}: {reasons[0]}"
    )


def _count_extractions(arrivals: dict[bytes, int], entries: Entries | None) -> int:
    """How many extractions there were that brought anything; those numbered below it."""
    numbers = list(arrivals.values())
    if entries is not None:
        numbers += [*entries.arrivals.tolist(), *entries.gone.arrivals.tolist()]
    return max(numbers, default=-1) + 1


def with_probes(contents: Contents, dataset: Dataset) -> Contents:
    """Adds eight decoded images, evenly spaced, by which a model can be checked later."""
    n_samples = len(contents.images)
    wanted = np.unique(np.linspace(0, n_samples - 1, min(N_PROBES, n_samples)).round().astype(int))
    rows, pixels = [], []
    for row in wanted.tolist():
        digest, decoded = read_image(
            dataset.root / contents.images.paths[row], contents.recipe, NO_LIMITS
        )
        if not isinstance(decoded, str) and np.array_equal(digest, contents.images.digests[row]):
            rows.append(row)
            pixels.append(decoded)
    side = contents.recipe.image_size
    return replace(
        contents,
        probe_rows=np.array(rows, np.int64),
        probe_pixels=np.stack(pixels) if pixels else np.zeros((0, side, side, 3), np.uint8),
    )


def write_contents(
    target: Path, contents: Contents, finished: FinishedRows, blocks: Iterable[np.ndarray]
) -> None:
    """Writes the new feature file.

    Args:
        contents: with probes.
        finished: has all rows.
        blocks: of the features of the images, in their order.

    Raises:
        StorageError: it cannot be written; what was there before still is.
    """

    def gather_views(digests: np.ndarray) -> Iterator[np.ndarray]:
        """(any number of images, n_views - 1, n_features) each."""
        if contents.views is None:
            return
        n_augmented = len(contents.views.augmented)
        block_rows = max(1, BLOCK_ROWS // n_augmented) * n_augmented
        for block in finished.gather(RowKeys(contents.views).of_views(digests), block_rows):
            yield block.reshape(-1, n_augmented, block.shape[1])

    write_features(
        target,
        contents,
        blocks,
        finished.gather(contents.retired),
        finished.count_features(),
        view_blocks=gather_views(contents.images.digests),
        retired_view_blocks=gather_views(contents.retired),
    )


def _images_at(dataset: Dataset, identity: Identity, rows: np.ndarray) -> ImageTable:
    return ImageTable(
        paths=[dataset.paths[row] for row in rows.tolist()],
        digests=identity.digests[rows],
        sizes=dataset.sizes[rows],
        mtimes=dataset.mtimes[rows],
        stamps=identity.stamps.at(rows),
    )


def _list_arrivals(old: Contents) -> dict[bytes, int]:
    """Digest -> number of the extraction that first saw the image, so that splits stay."""
    known = dict(zip(map(bytes, old.retired), old.retired_arrivals.tolist(), strict=True))
    known.update(zip(map(bytes, old.images.digests), old.arrivals.tolist(), strict=True))
    return known


def _find_retired(present: np.ndarray, old: Contents) -> list[bytes]:
    """Digests that the old file has rows for and the data set no longer holds, sorted."""
    gone = {*map(bytes, old.images.digests), *map(bytes, old.retired)} - {*map(bytes, present)}
    return sorted(gone)
