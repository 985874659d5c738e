"""The table of images in a feature file: what identifies each of them."""

from dataclasses import dataclass

import h5py
import numpy as np

from pipeline.features.file_stamps import Stamps, no_stamps
from pipeline.system.hdf5_tables import read_strings, write_strings


@dataclass(frozen=True)
class ImageTable:
    """What identifies each image; all arrays have `n_samples` rows, in the order of `paths`."""

    paths: list[str]
    digests: np.ndarray  # uint8 (n_samples, 32)
    sizes: np.ndarray  # int64, bytes
    mtimes: np.ndarray  # int64, nanoseconds
    stamps: Stamps

    def __len__(self) -> int:
        return len(self.paths)

    def at(self, rows: np.ndarray) -> "ImageTable":
        """The table of some images, in the order asked for."""
        return ImageTable(
            [self.paths[row] for row in rows.tolist()],
            self.digests[rows],
            self.sizes[rows],
            self.mtimes[rows],
            self.stamps.at(rows),
        )

    def equals(self, other: "ImageTable") -> bool:
        return (
            self.paths == other.paths
            and np.array_equal(self.digests, other.digests)
            and np.array_equal(self.sizes, other.sizes)
            and np.array_equal(self.mtimes, other.mtimes)
            and self.stamps.equals(other.stamps)
        )


def write_images(group: h5py.Group, images: ImageTable) -> None:
    """Writes its columns into a group."""
    write_strings(group, "path", images.paths)
    group["digest"] = images.digests.reshape(-1, 32).astype(np.uint8)
    group["size"] = images.sizes.astype(np.int64)
    group["mtime_ns"] = images.mtimes.astype(np.int64)
    group["ctime_ns"] = images.stamps.ctimes
    group["inode"] = images.stamps.inodes


def read_images(group: h5py.Group) -> ImageTable:
    """Reads them; files of older versions lack the stamps."""
    paths = read_strings(group["path"])
    has_stamps = "ctime_ns" in group and "inode" in group
    return ImageTable(
        paths=paths,
        digests=group["digest"][:],
        sizes=group["size"][:],
        mtimes=group["mtime_ns"][:],
        stamps=Stamps(group["ctime_ns"][:], group["inode"][:])
        if has_stamps
        else no_stamps(len(paths)),
    )
