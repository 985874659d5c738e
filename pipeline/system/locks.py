"""One lock for each output file, so that a second writer is told who writes it."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import LockedError, StorageError
from pipeline.system.disk import storage_errors
from pipeline.system.paths import is_folder


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
    lock_path = target.with_name(f".{target.name}.lock")
    with storage_errors(lock_path):
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(lock_path, blocking=False)
        try:
            lock.acquire()
        except Timeout:
            # filelock waits for a file that it cannot make as for one that is held (seen in /proc).
            if not lock_path.exists():
                raise StorageError(
                    f"No lock file can be made in {target.parent}. Expected a folder that files "
                    f"can be written to. Received: {target}\nChoose another place with `output`."
                ) from None
            raise LockedError(
                f"{target} is being written by {_read_holder(lock_path)}.\n"
                "Wait until it is done, or give this run an `output` of its own."
            ) from None
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
        lock.release()


def _read_holder(lock_path: Path) -> str:
    """Who holds the lock; waits a moment for a holder that has not said it yet."""
    for _ in range(20):
        try:
            holder = json.loads(lock_path.read_text())
            return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
        except (OSError, ValueError, KeyError):
            time.sleep(0.05)
    return "another process, which has not said who it is"
