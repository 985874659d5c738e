"""Questions about files and folders, answered without changing them."""

import errno
import hashlib
import os
import shutil
import stat
from io import BufferedReader
from pathlib import Path

from pipeline.errors import ParameterError


def is_file(path: Path) -> bool:
    """Whether there is a file; no where the system will not say, for want of rights or letters.

    `denial` tells which of the two it is.
    """
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


def denial(path: Path) -> str:
    """What to say behind a path that seems to lead nowhere: ` (permission denied)`, or nothing.

    For messages: whether a file is there is nothing to guess about where one may not look.
    """
    try:
        Path(path).stat()
    except PermissionError:
        return " (permission denied)"
    except (OSError, ValueError):
        return ""
    return ""


def is_pattern(path: Path) -> bool:
    """Whether a path that leads nowhere was meant as a pattern, such as `*.jpg`."""
    return bool(set(str(path)) & set("*?[")) and not os.path.lexists(path)


def expand_pattern(path: Path) -> list[Path]:
    """The files that a pattern matches, sorted; the path as it is where it is none or none does.

    Shells do that themselves, but for quoted patterns and for Windows' `cmd`.
    """
    if not is_pattern(path):
        return [path]
    start = Path(path.anchor)
    try:
        return sorted(start.glob(str(path.relative_to(start)))) or [path]
    except (OSError, ValueError):  # one may not look there, or it is no pattern after all
        return [path]


def open_regular_file(path: Path) -> BufferedReader:
    """Opens a file for reading if it is one: a pipe may never end, a device may do things.

    Raises:
        OSError: it cannot be opened, or is something else; `strerror` says what.
    """
    _require_regular(path.stat().st_mode, path)
    # Should a pipe have taken its place meanwhile, this does not wait for somebody to write.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        _require_regular(os.fstat(descriptor).st_mode, path)
        return os.fdopen(descriptor, "rb")
    except OSError:
        os.close(descriptor)
        raise


def _require_regular(mode: int, path: Path) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder, not a file", str(path))
    kind = "a socket" if stat.S_ISSOCK(mode) else "a pipe or device"
    raise OSError(errno.EINVAL, f"it is {kind}, not a file", str(path))


def sha256_of_file(path: Path) -> str:
    """sha256 of a file's bytes, 64 hex digits."""
    with open_regular_file(Path(path)) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_bytes(folder: Path) -> int:
    """Bytes that this user may still write in the nearest existing folder above."""
    folder = Path(folder).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def as_path(value: object, parameter: str) -> Path:
    """The path that a caller gave: a text, a `Path`, or what a function of the library returned.

    Raises:
        ParameterError: it is none of these.
    """
    if not isinstance(value, str | os.PathLike):
        raise ParameterError(
            f"Expected `{parameter}` to be a path. Received: {type(value).__name__}", parameter
        )
    return Path(value)


def modified_ns(status: os.stat_result) -> int:
    """When a file was last written, in nanoseconds as int64 holds them: to the year 2262, which a
    wrong clock may pass.
    """
    return min(status.st_mtime_ns, 2**63 - 1)
