"""Weights files that are fetched once into Keras's folder and known by their SHA-256 ever after.

A file comes under a temporary name and gets its own when it is whole, so several processes may
fetch it at once. At its first use it is compared with what its publisher says of it, and its
SHA-256 is written beside it; at every later use with that.
"""

import contextlib
import hashlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from pipeline.backbones.backbone import Backbone, Download
from pipeline.errors import StorageError, WeightsError
from pipeline.system.atomic_files import atomic_path, write_text
from pipeline.system.paths import sha256_of_file
from pipeline.system.quiet_start import no_start_up_talk

DOWNLOAD_TIMEOUT_SECONDS = 30
RECORD_SUFFIX = ".sha256"


def keras_home() -> Path:
    """Keras's folder: the environment variable KERAS_HOME, else `~/.keras`."""
    return Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()


def target_of(source: Download) -> Path:
    """Where a download is, or belongs."""
    return keras_home() / "models" / source.file


def fetch_if_absent(backbone: Backbone, source: Download) -> Path:
    """Returns the path of a download, after fetching it where it is not there.

    Raises:
        WeightsError: if it cannot be fetched, or what came is damaged. Nothing is left behind.
    """
    target = target_of(source)
    if not target.is_file():
        try:
            with atomic_path(target) as temporary:
                _fetch(source, temporary)
        except (_FetchError, StorageError) as error:
            problem, home = str(error), "that has models/ with the file in it"
            if isinstance(error, StorageError):
                # Its own advice is about `output`, which is not where the weights go.
                reason = getattr(error.__cause__, "strerror", None) or error
                problem, home = f"{target.parent} cannot be written: {reason}.", "that can be"
            raise WeightsError(
                f"The weights of {backbone.name} are not here and cannot be downloaded: {problem}\n"
                f"Ways out: fetch {source.url} elsewhere and put it at {target}; or set "
                f"KERAS_HOME to a folder {home}; or give a file with "
                "`weights=FILE`; or use `backbone='efficientnet-lite0'`, whose weights were "
                "installed with Frostline."
            ) from error
    return target


def check_download(source: Download, path: Path) -> str:
    """Makes sure that a file is the one that was published and that was used before.

    Args:
        source: what it should be.
        path: where it lies.

    Returns:
        Its SHA-256, 64 hex digits.

    Raises:
        WeightsError: if it is another file.
    """
    digest = sha256_of_file(path)
    record = path.with_name(path.name + RECORD_SUFFIX)
    with contextlib.suppress(FileNotFoundError):
        recorded = record.read_text(errors="replace").split()[:1]
        if recorded == [digest]:
            return digest
        raise WeightsError(
            f"{path} is no longer the file that was used before. Expected: the SHA-256 "
            f"{' '.join(recorded) or 'none'}, as in {record}. Received: {digest}\n"
            "Delete both, and the file is fetched anew; or delete the record alone if you know "
            "that the file is right; or give weights of your own with `weights=FILE`."
        )
    if problem := _compare_with_published(source, path):
        raise WeightsError(
            f"{path} is not the file that {source.url} is: {problem}\n"
            "Delete it, and it is fetched anew; or give weights of your own with `weights=FILE`."
        )
    # A folder that several people share may be read-only.
    with contextlib.suppress(StorageError):
        write_text(record, f"{digest}  {path.name}\n")
    return digest


class _FetchError(Exception):
    """Why a file did not come."""


def _fetch(source: Download, temporary: Path) -> None:
    """Downloads to a path that does not exist yet."""
    with no_start_up_talk():
        from pipeline.system.keras_on_tensorflow import keras

    if not os.access(temporary.parent, os.W_OK):
        raise _FetchError(f"{temporary.parent} cannot be written.")  # Keras would go elsewhere
    try:
        # Keras's download prints its progress to stdout, which belongs to results.
        with contextlib.redirect_stdout(sys.stderr), _socket_timeout(DOWNLOAD_TIMEOUT_SECONDS):
            keras.utils.get_file(
                fname=temporary.name,
                origin=source.url,
                cache_dir=str(temporary.parent),
                cache_subdir="",
            )
    except Exception as error:
        # get_file raises plain Exception for network errors.
        raise _FetchError(f"{error}.") from error
    if problem := _compare_with_published(source, temporary):
        raise _FetchError(f"What came is damaged: {problem}")


def _compare_with_published(source: Download, path: Path) -> str:
    """What is wrong with a file, by what its publisher says of it; empty if nothing is."""
    if source.file_hash is None:
        return _find_hdf5_damage(path)
    kind = "MD5" if len(source.file_hash) == 32 else "SHA-256"
    with path.open("rb") as file:
        received = hashlib.file_digest(file, kind.replace("-", "").lower()).hexdigest()
    if received.startswith(source.file_hash):
        return ""
    start = "start of the " if len(source.file_hash) < 32 else ""
    return (
        f"its hash does not match. Expected: the {start}{kind} {source.file_hash}. "
        f"Received: {received}"
    )


def _find_hdf5_damage(path: Path) -> str:
    """HDF5 knows how long a file should be, so one that was cut short is found."""
    import h5py

    try:
        with h5py.File(path, "r"):
            return ""
    except OSError as error:
        return f"it is no whole HDF5 file ({error})."


@contextlib.contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
