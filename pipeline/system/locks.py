"""One lock for each output, file or folder, so that a second writer is told who writes it."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import LockedError, StorageError
from pipeline.system.disk import storage_errors
from pipeline.system.paths import is_folder

_TRIES = 3


@contextmanager
def hold_lock(target: Path) -> Iterator[None]:
    """Holds the one lock of the file `target`; the kernel lets go of it when the process dies.

    Raises:
        LockedError: another process holds it; the message says who.
        StorageError: `target` is a folder, or no lock file can be made beside it.
    """
    target = Path(target)
    if is_folder(target):
        raise StorageError(
            f"This output is a folder. Expected the name of a file. Received: {target}\n"
            f"Name a file in it, such as {target / 'features.h5'}"
        )
    with storage_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    with _hold(target, is_kept=True):
        yield


@contextmanager
def hold_lock_for_now(target: Path) -> Iterator[None]:
    """Holds the one lock of `target`, file or folder, and leaves no trace of it.

    Folders that had to be made for it, and that nothing was put into, go with it.

    Raises:
        LockedError: another process holds it; the message says who.
        StorageError: no lock file can be made beside it.
    """
    target = Path(target)
    made = [folder for folder in target.parents if not os.path.lexists(folder)]
    with storage_errors(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _hold(target, is_kept=False):
            yield
    finally:
        for folder in made:
            with suppress(OSError):  # something is in it
                folder.rmdir()


@contextmanager
def _hold(target: Path, *, is_kept: bool) -> Iterator[None]:
    lock_path = target.with_name(f".{target.name.removeprefix('.')}.lock")
    with storage_errors(lock_path):
        lock = _acquire(target, lock_path)
    try:
        with storage_errors(lock_path):
            lock_path.write_text(
                json.dumps(
                    {
                        "host": socket.gethostname(),
                        "pid": os.getpid(),
                        "since": datetime.now(UTC).isoformat(timespec="seconds"),
                    }
                )
            )
        yield
    finally:
        if not is_kept:
            # While it is held: whoever opened it before finds that it has no name any more.
            lock_path.unlink(missing_ok=True)
        lock.release()


def _acquire(target: Path, lock_path: Path) -> FileLock:
    lock = FileLock(lock_path, blocking=False)
    for _ in range(_TRIES):  # one that is given back meanwhile loses its name
        try:
            lock.acquire()
            return lock
        except Timeout:
            if lock_path.exists():
                raise LockedError(
                    f"{target} is being written by {_read_holder(lock_path)}.\n"
                    "Wait until it is done, or give this run an `output` of its own."
                ) from None
    # filelock waits for a file that it cannot make as for one that is held (seen in /proc).
    raise StorageError(
        f"No lock file can be made in {target.parent}. Expected a folder that files can be written "
        f"to. Received: {target}\nChoose another place with `output`."
    )


def _read_holder(lock_path: Path) -> str:
    """Who holds the lock; waits a moment for a holder that has not said it yet."""
    for _ in range(20):
        try:
            holder = json.loads(lock_path.read_text())
            return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        except (OSError, ValueError, KeyError):
            time.sleep(0.05)
    return "another process, which has not said who it is"
