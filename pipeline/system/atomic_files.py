"""Writing files so that a killed program leaves the old file or the new one, never half of one.

Everything that Frostline writes goes through here: to a temporary name in the same folder, then
flush, fsync, rename, and an fsync of the folder. The fsyncs are for a power cut; a killed process
needs only the rename.
"""

import errno
import hashlib
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import LockedError, StorageError

TEMPORARY_PREFIX = ".frostline-tmp-"

_REASONS = {
    errno.ENOSPC: "the disk is full. Make room and run the same command again",
    errno.EDQUOT: "the disk quota is used up. Make room and run the same command again",
    errno.EACCES: "permission denied. Choose another place with --output, or change its rights",
    errno.EPERM: "permission denied. Choose another place with --output, or change its rights",
    errno.EROFS: "the file system is read-only. Choose another place with --output",
    errno.ENOENT: "the folder is no longer there. Was it moved, or a disk unmounted?",
    errno.ENOTDIR: "a part of that path is a file, not a folder. Choose another --output",
    errno.EEXIST: "a file of that name is in the way. Move it, or choose another --output",
}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns an OSError of the file system into a StorageError that names `path`."""
    try:
        yield
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
        raise StorageError(f"Cannot write {path}: {reason}.") from error


class OutputFile:
    """A raw file open for reading and writing that remembers its first failure in `error`."""

    def __init__(self, path: Path):
        self.error: OSError | None = None
        self._file = path.open("w+b", buffering=0)

    def write(self, data) -> int:
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

    def readinto(self, buffer) -> int:
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


# The only three places that change a disk, so that a test can fail or die at each.
def write_some(file, data: memoryview) -> int:
    return file.write(data)


def fsync(descriptor: int) -> None:
    os.fsync(descriptor)


def rename(source: Path, target: Path) -> None:
    source.replace(target)


def fsync_folder(folder: Path) -> None:
    """Asks the disk to keep the names in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Gives a temporary path; what lies there at the end takes `target`'s name.

    For libraries that insist on writing a path themselves. The suffix of `target` is kept.
    """
    target = Path(target)
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target)
        temporary = target.with_name(f"{TEMPORARY_PREFIX}{_writer()}-{target.name}")
        try:
            yield temporary
            with temporary.open("rb") as file:
                fsync(file.fileno())
            rename(temporary, target)
            fsync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_output(target: Path) -> Iterator[OutputFile]:
    """Gives an `OutputFile`; what was written takes `target`'s name at the end."""
    with atomic_path(target) as temporary:
        output = OutputFile(temporary)
        try:
            yield output
            if output.error is not None:
                raise output.error
            output.sync()
        except Exception:
            if output.error is not None:
                raise output.error from None
            raise
        finally:
            output.close()


def write_bytes(target: Path, data: bytes) -> None:
    """Writes a whole file atomically."""
    with atomic_output(target) as output:
        output.write(data)


def write_text(target: Path, text: str) -> None:
    """Writes a whole UTF-8 file atomically; file names with stray bytes survive."""
    write_bytes(target, text.encode("utf-8", "surrogateescape"))


def write_json(target: Path, value) -> None:
    """Writes indented JSON atomically."""
    write_text(target, to_json(value) + "\n")


def to_json(value) -> str:
    """Indented JSON for any program: in ASCII where a name has bytes that are no UTF-8."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=2)
    return text


@contextmanager
def atomic_folder(target: Path, *, force: bool = False) -> Iterator[Path]:
    """Gives an empty folder beside `target` that takes its name at the end, whole or not at all.

    Raises:
        FileExistsError: `target` exists and is not an empty folder, and not `force`.
    """
    target = Path(target)
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target)
        temporary = Path(
            tempfile.mkdtemp(
                prefix=f"{TEMPORARY_PREFIX}{_writer()}-",
                suffix=f"-{target.name}",
                dir=target.parent,
            )
        )
        temporary.chmod(0o755)
    try:
        # What is done inside writes to the folder; a library's own OSError has no path in it.
        with storage_errors(target):
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    with file.open("rb") as opened:
                        fsync(opened.fileno())
            _replace_folder(temporary, target, force)
            fsync_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(source: Path, target: Path, force: bool) -> None:
    """Renames a folder; a non-empty `target` steps aside first if `force` allows it."""
    if target.is_dir() and any(target.iterdir()):
        if not force:
            raise FileExistsError(errno.EEXIST, "exists already", str(target))
        old = source.with_name(f"{source.name}-old")
        rename(target, old)
        rename(source, target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        rename(source, target)


def remove_leftovers(target: Path) -> None:
    """Removes temporary files and folders for `target` whose process is dead."""
    for leftover in target.parent.glob(f"{TEMPORARY_PREFIX}*-{glob_escape(target.name)}"):
        process, _, host = leftover.name.removeprefix(TEMPORARY_PREFIX).partition("@")
        if host.startswith(f"{socket.gethostname()}-") and not _is_alive(int(process)):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def _writer() -> str:
    return f"{os.getpid()}@{socket.gethostname()}"


def glob_escape(name: str) -> str:
    """Escapes what `Path.glob` would read as a pattern."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def is_file(path: Path) -> bool:
    """Whether there is a file; no where the system will not say, for want of rights or letters."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder; no where the system will not say."""
    try:
        return path.is_dir()
    except OSError:
        return False


def sha256_of_file(path: Path) -> str:
    """sha256 of a file's bytes, 64 hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
                    f"can be written to. Received: {target}\nChoose another place with --output."
                ) from None
            raise LockedError(
                f"{target} is being written by {_read_holder(lock_path)}.\n"
                "Wait until it is done, or give this run an --output of its own."
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


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write in the nearest existing folder above."""
    folder = Path(folder).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
