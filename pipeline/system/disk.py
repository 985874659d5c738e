"""What changes a disk, and what it is called when that fails.

The operations are the only places that write, sync, rename or exchange, so that a test can fail or
die at each. Other modules call them as `disk.rename(...)`, never by a name of their own.
"""

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from pipeline.errors import StorageError

_REASONS = {
    errno.ENOSPC: "the disk is full. Make room and run the same command again",
    errno.EDQUOT: "the disk quota is used up. Make room and run the same command again",
    errno.EACCES: "permission denied. Choose another place with `{}`, or change its rights",
    errno.EPERM: "permission denied. Choose another place with `{}`, or change its rights",
    errno.EROFS: "the file system is read-only. Choose another place with `{}`",
    errno.ENOENT: "the folder is no longer there. Was it moved, or a disk unmounted?",
    errno.ENOTDIR: "a part of that path is a file, not a folder. Choose another `{}`",
    errno.EEXIST: "a file of that name is in the way. Move it, or choose another `{}`",
    errno.EISDIR: "a folder of that name is in the way. Move it, or choose another `{}`",
    errno.ENAMETOOLONG: "the name is too long. Choose another `{}`",
    errno.EMFILE: "too many files are open. Raise the limit (`ulimit -n`) and try again",
    errno.ENFILE: "too many files are open on this machine. Try again later",
}
# Of <fcntl.h> and <linux/fs.h>: relative to the current folder; exchange the two names.
_HERE, _RENAME_EXCHANGE = -100, 2


def write_some(file: FileIO, data: memoryview) -> int:
    """Writes at least the start of `data`; returns how many bytes of it."""
    return file.write(data)


def fsync(descriptor: int) -> None:
    """Asks the disk to keep what was written, even through a power cut."""
    os.fsync(descriptor)


def rename(source: Path, target: Path) -> None:
    """Gives a file or folder the name `target`, in one step; a file of that name is replaced."""
    source.replace(target)


def exchange(one: Path, other: Path) -> None:
    """Gives two files or folders each other's names, in one step (Linux, most file systems).

    Raises:
        OSError: nothing was changed; ENOSYS or EINVAL where this cannot be done at all.
    """
    rename_at = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename_at is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(other))
    names = os.fsencode(one), os.fsencode(other)
    if rename_at(_HERE, names[0], _HERE, names[1], ctypes.c_uint(_RENAME_EXCHANGE)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(other))


def fsync_folder(folder: Path) -> None:
    """Asks the disk to keep the names in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def storage_errors(path: Path, parameter: str = "output") -> Iterator[None]:
    """Turns an OSError of the file system into a StorageError that names `path`.

    Args:
        parameter: that chose the path.
    """
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        reason = reason.replace("{}", parameter)
        raise StorageError(f"Cannot write {path}: {reason}.") from error


def require_folder_can_be(folder: Path, parameter: str) -> None:
    """Whether there is a folder that can be written to, or can be made; makes none.

    Args:
        parameter: that chose it.

    Raises:
        StorageError: a file is in the way, or rights are missing.
    """
    nearest = folder.absolute()
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    with storage_errors(folder, parameter):
        if not nearest.is_dir():
            is_below = nearest != folder.absolute()
            raise OSError(errno.ENOTDIR if is_below else errno.EEXIST, "is a file", str(nearest))
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "may not be written", str(nearest))


class OutputFile:
    """A raw file open for reading and writing that remembers its first failure in `error`."""

    def __init__(self, path: Path):
        self.error: OSError | None = None
        self._file = path.open("w+b", buffering=0)

    def write(self, data: bytes | memoryview) -> int:
        """Writes all of `data`; raises (and remembers) the OSError that stops it."""
        view = memoryview(data).cast("B")
        try:
            written = 0
            while written < len(view):
                written += write_some(self._file, view[written:])
        except OSError as error:
            self.error = self.error or error
            raise
        return written

    def sync(self) -> None:
        """Asks the disk to keep what was written, even through a power cut."""
        fsync(self._file.fileno())

    def readinto(self, buffer: bytearray | memoryview) -> int:
        return self._file.readinto(buffer)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self.error = self.error or error
            raise

    def close(self) -> None:
        self._file.close()
