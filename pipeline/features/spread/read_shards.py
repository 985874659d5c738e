"""Reads the shards of a data set one after another, and makes sure that they belong together."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import FeatureFileError, ParameterError
from pipeline.features.feature_file import Contents, FeatureFile
from pipeline.features.spread.shard_number import Shard
from pipeline.features.spread.shards import ComparedRows, ShardRecord
from pipeline.images.augmentation.views import describe_differences
from pipeline.images.splits import SPLITS
from pipeline.recipe import EngineRecord
from pipeline.system.printable import name_some, printable
from pipeline.system.progress import OnProgress

_N_NAMED = 3


@dataclass(frozen=True)
class ShardPart:
    """What is kept of a shard's file when it has been read: little, for there may be many.

    Args:
        shard: which.
        path: of its file.
        fingerprint: of the file when it was read.
        digests: of its rows, uint8 (n_rows, 32).
        reasons: path of an image that could not be used -> why.
        engines: what computed the rows.
        compared: rows to compare with those of the other shards.
        n_features: length of a row.
    """

    shard: Shard
    path: Path
    fingerprint: tuple[int, int, int]
    digests: np.ndarray
    reasons: dict[str, str]
    engines: list[EngineRecord]
    compared: ComparedRows
    n_features: int

    def require_unchanged(self) -> None:
        """Raises a FeatureFileError if the file was written anew since it was read."""
        if _take_fingerprint(self.path) != self.fingerprint:
            raise FeatureFileError(
                f"{self.path} was written anew while its rows were read. Expected shards that "
                "nobody writes. Nothing was written; merge them again."
            )


@dataclass(frozen=True)
class ReadShards:
    """All shards of a data set, in the order of their numbers.

    Args:
        parts: one for each.
        first: the tables of the first shard's file.
        seen: what all of them saw; sizes, times and inodes as the first did.
        notes: what people should know.
    """

    parts: list[ShardPart]
    first: Contents
    seen: ShardRecord
    notes: list[str]


def read_shards(paths: list[Path], on_progress: OnProgress) -> ReadShards:
    """Reads them in any order; of all but one only what is small stays in memory.

    Raises:
        ParameterError: there are no files.
        FeatureFileError: one is no shard or is damaged, one is missing or there twice, they are of
            different recipes, or saw different images.
    """
    if not paths:
        raise ParameterError("Expected `files` to be the shards to merge. Received: none", "files")
    part, contents, record = _read(paths[0])
    parts, first, seen = {part.shard.number: part}, contents, record
    roots = {contents.data_root}
    for done, path in enumerate(paths[1:], start=1):
        on_progress("Reading shards", done, len(paths))
        part, contents, record = _read(path)
        before = parts[seen.shard.number]
        _require_same_count(part, before)
        _require_once(part, parts)
        _require_same_recipe(contents, part, first, before)
        _require_same_images(contents, record, first, seen)
        if part.shard.number < seen.shard.number:
            first, seen = contents, record
        parts[part.shard.number] = part
        roots.add(contents.data_root)
    on_progress("Reading shards", len(paths), len(paths))
    _require_all(parts, seen.shard.n_shards)
    notes = []
    if len(roots) > 1:
        notes.append(
            f"The shards were made from {len(roots):,} folders that hold the same images; the "
            f"file names the first shard's: {first.data_root}"
        )
    return ReadShards([parts[number] for number in sorted(parts)], first, seen, notes)


def _read(path: Path) -> tuple[ShardPart, Contents, ShardRecord]:
    fingerprint = _take_fingerprint(path) if path.is_file() else (0, 0, 0)
    with FeatureFile(path) as file:
        contents, n_features = file.contents, file.n_features
    record = contents.shard
    if record is None:
        raise FeatureFileError(
            f"This is no shard: {path} holds a whole data set. Expected files that "
            "`frostline.extract(DATA, shard='1/3')` and its like wrote.\nLeave it out."
        )
    part = ShardPart(
        shard=record.shard,
        path=path,
        fingerprint=fingerprint,
        digests=contents.images.digests,
        reasons=dict(zip(contents.skipped.paths, contents.reasons, strict=True)),
        engines=contents.engines,
        compared=record.compared,
        n_features=n_features,
    )
    return part, contents, record


def _take_fingerprint(path: Path) -> tuple[int, int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path's own raises the same
    except OSError:
        return 0, 0, 0
    return status.st_ino, status.st_mtime_ns, status.st_size


def _require_same_count(part: ShardPart, other: ShardPart) -> None:
    if part.shard.n_shards != other.shard.n_shards:
        raise FeatureFileError(
            "These shards do not belong together: a data set was divided among different numbers "
            f"of machines. Expected one of {other.shard.n_shards:,}, as {other.path} is. "
            f"Received: {part.path}, which is shard {part.shard}"
        )


def _require_once(part: ShardPart, parts: dict[int, ShardPart]) -> None:
    other = parts.get(part.shard.number)
    if other is not None:
        raise FeatureFileError(
            f"Shard {part.shard} is there twice. Expected each shard once. Received: {other.path} "
            f"and {part.path}\nLeave one of them out."
        )


def _require_all(parts: dict[int, ShardPart], n_shards: int) -> None:
    missing = [f"{number}/{n_shards}" for number in range(1, n_shards + 1) if number not in parts]
    if missing:
        raise FeatureFileError(
            f"Missing: shard {name_some(missing)}. Expected all {n_shards:,} shards. Received: "
            f"{len(parts):,}\nMake it with `frostline.extract(DATA, shard='{missing[0]}')`, and "
            "the options of the others."
        )


def _require_same_recipe(
    contents: Contents, part: ShardPart, first: Contents, other: ShardPart
) -> None:
    if contents.recipe != first.recipe:
        raise FeatureFileError(
            f"{part.path} was made by another recipe than {other.path}, and rows of two recipes "
            "are never mixed.\nWhat differs: "
            + "; ".join(first.recipe.differences(contents.recipe))
        )
    if contents.views != first.views:
        raise FeatureFileError(
            f"{part.path} was made with other views than {other.path}.\nWhat differs: "
            + "; ".join(describe_differences(first.views, contents.views))
        )
    if part.n_features != other.n_features:
        raise FeatureFileError(
            f"{part.path} has rows of another length. Expected {other.n_features:,} features, as "
            f"in {other.path}. Received: {part.n_features:,}"
        )


def _require_same_images(
    contents: Contents, record: ShardRecord, first: Contents, other: ShardRecord
) -> None:
    differences = list(_find_differences(contents, record, first, other))
    if differences:
        more = len(differences) - _N_NAMED
        rest = f"\n  and {more:,} more" if more > 0 else ""
        named = "".join(f"\n  {line}" for line in differences[:_N_NAMED])
        raise FeatureFileError(
            "The shards saw different images, so together they are no data set. Expected the same "
            f"of all of them. Received: shards {other.shard} and {record.shard}, of which{named}"
            f"{rest}\nRun extract for each shard again, now that nothing changes any more: only "
            "what is new is computed."
        )


def _find_differences(
    contents: Contents, record: ShardRecord, first: Contents, other: ShardRecord
) -> Iterator[str]:
    """A line for each image that two shards did not see alike."""
    is_same = (
        record.images.paths == other.images.paths
        and np.array_equal(record.images.digests, other.images.digests)
        and np.array_equal(record.splits, other.splits)
        and np.array_equal(record.labels, other.labels)
        and contents.class_names == first.class_names
    )
    if is_same:
        return
    here, there = _facts_of(contents, record), _facts_of(first, other)
    for path in sorted(here.keys() | there.keys()):
        one, two = here.get(path), there.get(path)
        name = printable(path)
        if one is None or two is None:
            yield f"only shard {other.shard if one is None else record.shard} saw {name}"
        elif one[0] != two[0]:
            unread = [s.shard for s, fact in ((record, one), (other, two)) if not any(fact[0])]
            how = f"shard {unread[0]} could not read it" if unread else "it has other bytes"
            yield f"{name}: {how}"
        elif one != two:
            yield f"{name}: {_say(two)} for {other.shard}, {_say(one)} for {record.shard}"


def _facts_of(contents: Contents, record: ShardRecord) -> dict[str, tuple[bytes, str, int]]:
    """Path -> digest, class and split."""
    names = [*contents.class_names, "no label"]  # -1 is the last
    return {
        path: (digest.tobytes(), names[label], split)
        for path, digest, label, split in zip(
            record.images.paths,
            record.images.digests,
            record.labels.tolist(),
            record.splits.tolist(),
            strict=True,
        )
    }


def _say(fact: tuple[bytes, str, int]) -> str:
    _, label, split = fact
    return printable(label) + (f" in {SPLITS[split]}" if split >= 0 else "")
