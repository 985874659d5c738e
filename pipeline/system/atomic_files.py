"""Writing files so that a killed program leaves the old file or the new one, never half of one.

Everything that Frostline writes goes this way: to a temporary name in the same folder, then
flush, fsync, rename, and an fsync of the folder. The fsyncs are for a power cut; a killed process
needs only the rename.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.system import disk
from pipeline.system.disk import OutputFile, storage_errors
from pipeline.system.leftovers import remove_leftovers, temporary_path
from pipeline.system.printable import to_json


@contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Gives a temporary path; what lies there at the end takes `target`'s name.

    For libraries that insist on writing a path themselves. The suffix of `target` is kept.
    """
    target = Path(target)
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(target)
        temporary = temporary_path(target)
        try:
            yield temporary
            with temporary.open("rb") as file:
                disk.fsync(file.fileno())
            disk.rename(temporary, target)
            disk.fsync_folder(target.parent)
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


def write_json(target: Path, value: object) -> None:
    """Writes indented JSON atomically."""
    write_text(target, to_json(value) + "\n")
