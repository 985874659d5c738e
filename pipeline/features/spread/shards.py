"""Shards: the images of a data set that one of n machines computes, and what their files tell.

An image's digest decides whose it is, so equal images are computed once, and an image stays with
its machine however it is called. A shard's file also lists what that machine saw of the whole data
set: whoever merges the shards sees whether all of them saw the same.
"""

from dataclasses import dataclass

import h5py
import numpy as np

from pipeline.features.image_table import ImageTable, read_images, write_images
from pipeline.features.spread.shard_number import Shard, parse_shard
from pipeline.images.splits import NO_SPLIT, SPLITS, UNLABELLED


def is_held(shard: Shard, digests: np.ndarray) -> np.ndarray:
    """Which images fall to a shard, bool (n_images,).

    With u the first 4 bytes of the digest as a number (big-endian), it is shard number
    floor(u * n_shards / 2^32) + 1.

    Args:
        digests: uint8 (n_images, 32).
    """
    starts = np.ascontiguousarray(digests[:, :4]).view(">u4").ravel().astype(np.uint64)
    return (starts * np.uint64(shard.n_shards)) >> np.uint64(32) == shard.number - 1


@dataclass(frozen=True)
class ComparedRows:
    """Rows of a few images that every shard of a data set computes, so that they can be compared.

    Args:
        digests: uint8 (n_compared, 32).
        features: float32 (n_compared, n_features).
    """

    digests: np.ndarray
    features: np.ndarray

    def equals(self, other: "ComparedRows") -> bool:
        return np.array_equal(self.digests, other.digests) and np.array_equal(
            self.features, other.features
        )


@dataclass(frozen=True)
class ShardRecord:
    """What a shard's file says besides its own rows; arrays have a row for each image seen.

    Args:
        shard: which.
        images: all images of the data set, as this machine saw them; zeros for the digest of one
            that could not be read.
        labels: int32, index into the file's `class_names`, -1 = none.
        splits: int8, what the source says, -1 = nothing.
        compared: rows to compare with other shards'.
    """

    shard: Shard
    images: ImageTable
    labels: np.ndarray
    splits: np.ndarray
    compared: ComparedRows

    def describe(self) -> str:
        """Such as `2/3 of 1,000 images`."""
        return f"{self.shard} of {len(self.images):,} images"

    def equals(self, other: "ShardRecord | None") -> bool:
        return (
            other is not None
            and self.shard == other.shard
            and self.images.equals(other.images)
            and np.array_equal(self.labels, other.labels)
            and np.array_equal(self.splits, other.splits)
            and self.compared.equals(other.compared)
        )


def write_shard(file: h5py.File, record: ShardRecord) -> None:
    """Writes the group `shard` and the attribute of that name."""
    file.attrs["shard"] = str(record.shard)
    seen = file.create_group("shard/seen")
    write_images(seen, record.images)
    seen["label"] = record.labels.astype(np.int32)
    seen["split"] = record.splits.astype(np.int8)
    compared = file.create_group("shard/compared")
    compared["digest"] = record.compared.digests.reshape(-1, 32).astype(np.uint8)
    compared["features"] = record.compared.features.astype(np.float32)


def read_shard(file: h5py.File, n_classes: int) -> ShardRecord | None:
    """Reads them; None for a file that is no shard.

    Args:
        n_classes: of the file.

    Raises:
        ValueError: they make no sense, so the file is damaged.
    """
    text = file.attrs.get("shard")
    if text is None:
        return None
    if not isinstance(text, str):
        raise ValueError(f"the attribute 'shard' should be a text, and is {type(text).__name__}")
    seen, compared = file["shard/seen"], file["shard/compared"]
    record = ShardRecord(
        parse_shard(text),
        read_images(seen),
        seen["label"][:],
        seen["split"][:],
        ComparedRows(compared["digest"][:], compared["features"][:]),
    )
    _require_sense(record, file["digest"][:], n_classes)
    return record


def _require_sense(record: ShardRecord, own: np.ndarray, n_classes: int) -> None:
    labels, splits = record.labels, record.splits
    if not is_held(record.shard, own).all():
        raise ValueError(f"there are images that are not those of shard {record.shard}")
    if np.any(labels < UNLABELLED) or np.any(labels >= n_classes):
        raise ValueError("a label in shard/seen has no name")
    if np.any(splits < NO_SPLIT) or np.any(splits >= len(SPLITS)):
        raise ValueError("there is no such split as one in shard/seen")
    if not np.isfinite(record.compared.features).all():
        raise ValueError("NaN or infinity in shard/compared, which no network's output is")
