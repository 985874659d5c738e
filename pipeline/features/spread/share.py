"""What one of n machines computes of a data set: its share, chosen when all digests are known."""

from dataclasses import dataclass, replace

import numpy as np

from pipeline.errors import DatasetError
from pipeline.features.embed import EmbedFiles
from pipeline.features.feature_file import Contents
from pipeline.features.finished_rows import FinishedRows
from pipeline.features.identify import Identity
from pipeline.features.image_table import ImageTable
from pipeline.features.spread.shard_number import Shard
from pipeline.features.spread.shards import ComparedRows, ShardRecord, is_held
from pipeline.images.dataset import Dataset
from pipeline.images.decoding.read_images import Limits, read_image
from pipeline.recipe import Recipe

N_COMPARED = 8


@dataclass(frozen=True)
class Share:
    """A shard's part of a data set.

    Args:
        shard: which.
        whole: the whole data set.
        seen: what is known of all its images.
        rows: int (n_share,), which of them are in the share; and those that cannot be read, which
            every shard names.
        dataset, identity: the same of the share alone.
    """

    shard: Shard
    whole: Dataset
    seen: Identity
    rows: np.ndarray
    dataset: Dataset
    identity: Identity

    def record(self, compared: ComparedRows, n_features: int) -> ShardRecord:
        """What the shard's file says of the whole data set, when its share is computed."""
        digests = self.seen.digests.copy()
        digests[self.rows] = self.identity.digests  # without those that changed meanwhile
        whole = self.whole
        images = ImageTable(whole.paths, digests, whole.sizes, whole.mtimes, self.seen.stamps)
        n_compared = len(compared.digests)  # of none, the length of a row is not known
        rows = replace(compared, features=compared.features.reshape(n_compared, n_features))
        return ShardRecord(self.shard, images, whole.labels, whole.splits, rows)

    def compare(
        self,
        recipe: Recipe,
        limits: Limits,
        finished: FinishedRows,
        old: Contents | None,
        embedding: EmbedFiles | None,
    ) -> ComparedRows:
        """The rows by which this shard is compared with the others: those of the lowest digests.

        Args:
            recipe, limits: as for `read_image`.
            finished: rows that are there; they are taken as they are.
            old: the shard's file so far, whose rows for comparing stay.
            embedding: makes the others; None where nothing else is to be computed, and so nothing
                heavy is loaded.
        """
        rows: dict[bytes, np.ndarray] = {}
        if old is not None and old.shard is not None:
            before = old.shard.compared
            rows = dict(zip(map(bytes, before.digests), before.features, strict=True))
        found: list[tuple[bytes, np.ndarray]] = []
        pixels: list[np.ndarray] = []
        unknown: list[bytes] = []
        for row in find_lowest(self.seen.digests, N_COMPARED):
            digest = self.seen.digests[row]
            key = digest.tobytes()
            if key in finished:
                (block,) = finished.gather(digest[None])
                found.append((key, block[0]))
            elif key in rows:
                found.append((key, rows[key]))
            elif embedding is not None:
                path = self.whole.root / self.whole.paths[row]
                now, decoded = read_image(path, recipe, limits)
                if not isinstance(decoded, str) and np.array_equal(now, digest):
                    unknown.append(key)
                    pixels.append(decoded)
        if embedding is not None and pixels:
            found += zip(unknown, embedding.embed(np.stack(pixels)), strict=True)
        return _tabulate(found)


def take_share(dataset: Dataset, identity: Identity, shard: Shard) -> Share:
    """The images of a data set that fall to a shard.

    Raises:
        DatasetError: there are none.
    """
    is_known = identity.digests.any(axis=1)
    is_ours = is_known & is_held(shard, identity.digests)
    if not is_ours.any():
        raise DatasetError(
            f"Not one of the {len(dataset):,} images falls to shard {shard}. Expected many more "
            f"images than shards. Received: `shard={shard}` for {dataset.root}\n"
            "Choose fewer shards, the same number on all machines."
        )
    rows = np.flatnonzero(is_ours | ~is_known)
    note = f"Shard {shard}: {int(is_ours.sum()):,} of {len(dataset):,} images."
    reasons = {
        place: identity.reasons[row]
        for place, row in enumerate(rows.tolist())
        if row in identity.reasons
    }
    ours = Identity(identity.digests[rows], reasons, identity.stamps.at(rows))
    return Share(shard, dataset, identity, rows, dataset.of_rows(rows, note), ours)


def read_whole(old: Contents) -> Contents:
    """A shard's tables with all the images that it saw in the place of its own.

    So that no image of another shard is read again for its digest.
    """
    return old if old.shard is None else replace(old, images=old.shard.images)


def find_lowest(digests: np.ndarray, n_wanted: int) -> list[int]:
    """A row for each of the lowest digests, without those that are all zeros.

    Args:
        digests: uint8 (n_images, 32); equal ones count once.
    """
    starts = np.ascontiguousarray(digests[:, :8]).view(">u8").ravel()
    chosen: dict[bytes, int] = {}
    for row in np.argsort(starts, kind="stable").tolist():
        if digests[row].any():
            chosen.setdefault(digests[row].tobytes(), row)
        if len(chosen) == n_wanted:
            break
    return list(chosen.values())


def _tabulate(found: list[tuple[bytes, np.ndarray]]) -> ComparedRows:
    if not found:
        return ComparedRows(np.zeros((0, 32), np.uint8), np.zeros((0, 0), np.float32))
    found = sorted(found, key=lambda pair: pair[0])
    digests = np.frombuffer(b"".join(key for key, _ in found), np.uint8).reshape(-1, 32)
    return ComparedRows(digests, np.stack([row for _, row in found]).astype(np.float32))
