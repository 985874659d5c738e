"""Writing a folder so that it appears whole, or not at all, and what it replaces is never lost."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import StorageError
from pipeline.system import disk
from pipeline.system.disk import storage_errors
from pipeline.system.leftovers import ASIDE_PREFIX, remove_leftovers, temporary_path

# What a system or a file system says that cannot exchange two names.
_CANNOT_EXCHANGE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}


@contextmanager
def atomic_folder(
    target: Path, *, may_replace: Callable[[Path], bool] = lambda folder: False
) -> Iterator[Path]:
    """Gives an empty folder beside `target` that takes its name at the end, whole or not at all.

    Args:
        may_replace: whether a folder that is there, and not empty, may go. It goes when the new
            one has its name, and not before.

    Raises:
        StorageError: `target` exists and may not be replaced, or something cannot be written.
    """
    target = target.resolve() if target.is_symlink() else Path(target)
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target)
        temporary = temporary_path(target)
        temporary.mkdir(mode=0o755)
    try:
        # What is done inside writes to the folder; a library's own OSError has no path in it.
        with storage_errors(target):
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    with file.open("rb") as opened:
                        disk.fsync(opened.fileno())
            _give_name(temporary, target, may_replace)
            disk.fsync_folder(target.parent)
    except StorageError as error:  # in terms of the name that people know
        raise StorageError(str(error).replace(str(temporary), str(target))) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _give_name(source: Path, target: Path, may_replace: Callable[[Path], bool]) -> None:
    """Renames a folder; what had the name before is then under the name `source`."""
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        disk.rename(source, target)
        return
    if not target.is_dir() or not may_replace(target):
        raise FileExistsError(errno.EEXIST, "exists already", str(target))
    try:
        disk.exchange(source, target)
    except OSError as error:
        if error.errno not in _CANNOT_EXCHANGE:
            raise
        _exchange_by_steps(source, target)


def _exchange_by_steps(source: Path, target: Path) -> None:
    """For file systems that cannot do it at once; at each moment the old folder is whole.

    A process that dies here leaves it under a name that `remove_leftovers` gives back.
    """
    aside = temporary_path(target, ASIDE_PREFIX)
    disk.rename(target, aside)
    try:
        disk.rename(source, target)
    except OSError as error:
        try:
            disk.rename(aside, target)
        except OSError:
            raise StorageError(
                f"Cannot write {target}: {error.strerror}. Expected to give it its old name again, "
                f"which failed, too. What was there before lies whole in {aside}"
            ) from error
        raise
    shutil.rmtree(aside, ignore_errors=True)
