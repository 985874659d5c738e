"""Writing a folder so that it appears whole, or not at all."""

import errno
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.system import disk
from pipeline.system.disk import storage_errors
from pipeline.system.leftovers import remove_leftovers, temporary_start


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
                prefix=temporary_start(),
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
                        disk.fsync(opened.fileno())
            _replace_folder(temporary, target, force)
            disk.fsync_folder(target.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(source: Path, target: Path, force: bool) -> None:
    """Renames a folder; a non-empty `target` steps aside first if `force` allows it."""
    if target.is_dir() and any(target.iterdir()):
        if not force:
            raise FileExistsError(errno.EEXIST, "exists already", str(target))
        old = source.with_name(f"{source.name}-old")
        disk.rename(target, old)
        disk.rename(source, target)
        shutil.rmtree(old, ignore_errors=True)
    else:
        disk.rename(source, target)
