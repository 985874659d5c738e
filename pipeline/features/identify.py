"""Which image is which: every file's digest, read only where the file changed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from pipeline.features.feature_file import Contents
from pipeline.features.file_stamps import Stamps, find_unchanged, read_stamps
from pipeline.features.finished_rows import FinishedRows
from pipeline.features.row_keys import RowKeys
from pipeline.images.dataset import Dataset
from pipeline.images.decoding.read_images import Limits, hash_image_file
from pipeline.system.parallel import map_batches

_FILES_PER_TASK = 64
_READING_THREADS = 4


@dataclass
class Identity:
    """What is known of each image of a data set before any is decoded.

    Args:
        digests: uint8 (n_samples, 32), zeros where a file cannot be read.
        reasons: row -> why that image is skipped.
        stamps: of the files, from before they were read.
    """

    digests: np.ndarray
    reasons: dict[int, str]
    stamps: Stamps

    def skip(self, failures: dict[bytes, str]) -> None:
        """Skips all images with these digests, for these reasons."""
        if not failures:
            return
        for row, digest in enumerate(self.digests):
            reason = failures.get(digest.tobytes())
            if reason is not None:
                self.reasons.setdefault(row, reason)

    def give_up(self, row: int, digest: np.ndarray, reason: str) -> None:
        """Skips an image that could not be decoded, and all that are equal to it.

        Args:
            digest: of the bytes that were decoded, zeros where the file could not be read.
        """
        if np.array_equal(digest, self.digests[row]):
            self.skip({digest.tobytes(): reason})
        else:
            self._forget(row, reason)

    def skip_unfinished(self, finished: FinishedRows, keys: RowKeys) -> None:
        """Skips images that lack a row and have no reason for it; the next run looks at them anew.

        Args:
            finished: all rows that there are.
            keys: what the rows of an image are known by.
        """
        is_whole = keys.find_present(self.digests, finished).all(axis=1)
        for row in np.flatnonzero(~is_whole).tolist():
            if row not in self.reasons:
                self._forget(row, "it changed while it was being read; run extract again")

    def _forget(self, row: int, reason: str) -> None:
        self.reasons[row] = reason
        self.digests[row] = 0


def identify_images(
    dataset: Dataset,
    old: Contents | None,
    *,
    rehash: bool,
    limits: Limits,
    retry: Callable[[str], bool],
    on_progress: Callable[[str, int, int], None],
) -> Identity:
    """Finds the digest of every image.

    Args:
        old: the tables of the feature file so far. A file that is in it and has not changed since
            is not read, unless `rehash`.
        limits: what an image may be at most; a larger file is not read, and has no digest.
        retry: says of a reason whether an image that was skipped for it is tried again.
        on_progress: called with a stage, the number done and the number to do.
    """
    stamps = read_stamps(dataset.root, dataset.paths)
    identity = Identity(np.zeros((len(dataset), 32), np.uint8), {}, stamps)
    if old is not None and not rehash:
        _take_known_digests(identity, dataset, old)
    unread = np.flatnonzero(~identity.digests.any(axis=1)).tolist()
    for done, (row, digest, reason) in enumerate(_hash_files(dataset, unread, limits), start=1):
        identity.digests[row] = digest
        if reason is not None:
            identity.reasons[row] = reason
        on_progress("Reading", done, len(unread))
    if old is not None:
        identity.skip(
            {
                digest.tobytes(): reason
                for digest, reason in zip(old.skipped.digests, old.reasons, strict=True)
                if digest.any() and not retry(reason)
            }
        )
    return identity


def _take_known_digests(identity: Identity, dataset: Dataset, old: Contents) -> None:
    """Takes the digests of files that could be read last time and have not changed since."""
    for table in (old.images, old.skipped):
        stats = [*zip(table.paths, table.sizes.tolist(), table.mtimes.tolist(), strict=True)]
        has_digest = np.flatnonzero(table.digests.any(axis=1)).tolist()
        old_rows = {stats[row]: row for row in has_digest}
        stats = [*zip(dataset.paths, dataset.sizes.tolist(), dataset.mtimes.tolist(), strict=True)]
        pairs = [(row, old_rows[stat]) for row, stat in enumerate(stats) if stat in old_rows]
        rows, known = np.array(pairs, np.int64).reshape(-1, 2).T
        is_unchanged = find_unchanged(table.stamps.at(known), identity.stamps.at(rows))
        identity.digests[rows[is_unchanged]] = table.digests[known[is_unchanged]]


def _hash_files(
    dataset: Dataset, rows: list[int], limits: Limits
) -> Iterator[tuple[int, np.ndarray, str | None]]:
    """(row, digest, reason or None) of each file, in any order."""

    def hash_some(some: list[int]) -> list[tuple[int, np.ndarray, str | None]]:
        return [(row, *hash_image_file(dataset.root / dataset.paths[row], limits)) for row in some]

    tasks = [
        rows[start : start + _FILES_PER_TASK] for start in range(0, len(rows), _FILES_PER_TASK)
    ]
    for results in map_batches(hash_some, tasks, _READING_THREADS):
        yield from results
