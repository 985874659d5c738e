"""When a file counts as unchanged, so that it need not be read again: equal path, size and time,
and equal ctime and inode, which nobody sets by hand as `touch -d` sets the time.

Renaming a file onto another's name, or writing into it, gives it a new ctime on the file systems
of Linux; where it does not, the inode tells. `docs/reliability.md` says what neither can tell.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Stamps:
    """What a file system notes of each file by itself; zeros where that is not known.

    Args:
        ctimes: int64, nanoseconds: when name, rights or content last changed.
        inodes: uint64: the file's number.
    """

    ctimes: np.ndarray
    inodes: np.ndarray

    def __len__(self) -> int:
        return len(self.ctimes)

    def at(self, rows: np.ndarray) -> "Stamps":
        return Stamps(self.ctimes[rows], self.inodes[rows])

    def equals(self, other: "Stamps") -> bool:
        return np.array_equal(self.ctimes, other.ctimes) and np.array_equal(
            self.inodes, other.inodes
        )


def no_stamps(n_files: int) -> Stamps:
    """What is known where there are none, as in feature files from before there were any."""
    return Stamps(np.zeros(n_files, np.int64), np.zeros(n_files, np.uint64))


def read_stamps(root: Path, paths: Sequence[str]) -> Stamps:
    """The stamps of files as they are now."""
    stamps = no_stamps(len(paths))
    for row, path in enumerate(paths):
        stamps.ctimes[row], stamps.inodes[row] = _read_stamp(f"{root}/{path}")
    return stamps


def find_unchanged(before: Stamps, now: Stamps) -> np.ndarray:
    """Which files have the stamps that they had, bool (n_files,).

    What was not known before decides nothing. Where all ctimes are as they were and not one inode
    is, the file system has numbered its files anew (as some do at each mount), and moved none.
    """
    is_known = before.ctimes != 0
    is_same_time = (before.ctimes == now.ctimes) | ~is_known
    is_same_number = (before.inodes == now.inodes) | ~is_known
    if is_same_time.all() and not (is_same_number & is_known).any():
        return is_same_time
    return is_same_time & is_same_number


def _read_stamp(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)  # noqa: PTH116 - a Path a file takes longer than all else here
    except (OSError, ValueError):
        return 0, 0
    return status.st_ctime_ns, status.st_ino % 2**64
