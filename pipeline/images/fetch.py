"""Fetches data sets into class folders under `data/`, whole or not at all."""

import io
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.errors import DatasetError
from pipeline.images.dataset import is_archive
from pipeline.images.sources.archives import ARCHIVE_SUFFIXES, MAX_BYTES, unpack_archive
from pipeline.images.sources.candidates import ARCHIVE_NOTE, find_reason_to_pass, was_fetched
from pipeline.images.splits import split_of_name
from pipeline.system.atomic_folder import atomic_folder
from pipeline.system.disk import storage_errors
from pipeline.system.paths import is_file, sha256_of_file

DATA_FOLDER = Path("data")
_N_SHOWN = 3
_TIMEOUT_SECONDS = 60.0  # without a byte


@dataclass(frozen=True)
class Download:
    """An archive on the network."""

    url: str
    sha256: str
    n_bytes: int


# The TensorFlow Team, 2019: 3,670 photos by five flowers, CC BY. The hash is the one in TensorFlow
# Datasets' url_checksums/tf_flowers.txt.
FLOWERS = Download(
    "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
    "4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
    228_813_984,
)


@dataclass(frozen=True)
class Fetched:
    """A data set that was made: its folder, the number of its files, and what to say of it."""

    folder: Path
    n_files: int
    notes: list[str] = field(default_factory=list)

    def __fspath__(self) -> str:
        return str(self.folder)


def fetch(
    source: str | Path,
    output: str | Path | None = None,
    *,
    force: bool = False,
    max_bytes: int = MAX_BYTES,
) -> Fetched:
    """Makes a data set from `digits`, `flowers`, `tfds:NAME`, or an archive's path.

    Args:
        output: the folder, None for one in `data/`.
        force: replace it if it exists.
        max_bytes: refuse an archive that expands to more.

    Raises:
        DatasetError: no such source, the folder exists, or the source cannot be used.
    """
    source = str(source)
    output = None if output is None else Path(output)
    if source == "digits":
        return fetch_digits(output, force=force)
    if source == "flowers":
        return fetch_flowers(output, force=force, max_bytes=max_bytes)
    if source.startswith("tfds:"):
        from pipeline.images.sources.tfds import fetch_tfds

        name = source.removeprefix("tfds:")
        folder = output or DATA_FOLDER / name.replace("/", "-").replace(":", "-")
        _require_new(folder, force)
        return Fetched(folder, *fetch_tfds(name, folder, force=force))
    if is_file(Path(source)):
        return fetch_archive(Path(source), output, force=force, max_bytes=max_bytes)
    raise DatasetError(
        "There is no such source. Expected digits, flowers, tfds:NAME, or the path of an archive "
        f"({', '.join(ARCHIVE_SUFFIXES)}). Received: {source}"
    )


def fetch_digits(output: Path | None = None, *, force: bool = False) -> Fetched:
    """Writes scikit-learn's handwritten digits as PNG files, a folder per digit.

    1,797 real images of 8 x 8 pixels, 16 levels of gray scaled to 0..255. Source: E. Alpaydin and
    C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (1998).

    Raises:
        DatasetError: the folder exists.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    folder = output or DATA_FOLDER / "digits"
    _require_new(folder, force)
    digits = load_digits()
    with atomic_folder(folder, may_replace=lambda there: force and was_fetched(there)) as temporary:
        for number, (pixels, digit) in enumerate(zip(digits.images, digits.target, strict=True)):
            buffer = io.BytesIO()
            gray = np.rint(pixels * (255 / 16)).astype(np.uint8)
            Image.fromarray(gray).save(buffer, format="PNG")
            class_folder = temporary / str(digit)
            class_folder.mkdir(exist_ok=True)
            (class_folder / f"{number:04d}.png").write_bytes(buffer.getvalue())
        (temporary / ARCHIVE_NOTE).write_text(json.dumps({"source": "digits"}))
    return Fetched(folder, len(digits.target))


def fetch_flowers(
    output: Path | None = None, *, force: bool = False, max_bytes: int = MAX_BYTES
) -> Fetched:
    """Downloads TensorFlow's flower_photos, once, to Keras's folder, and unpacks them.

    Raises:
        DatasetError: the folder exists, or the archive cannot be downloaded.
    """
    folder = output or DATA_FOLDER / "flowers"
    _require_new(folder, force)
    archive = _download(FLOWERS)
    return fetch_archive(archive, folder, force=force, max_bytes=max_bytes)


def fetch_archive(
    archive: Path,
    output: Path | None = None,
    *,
    force: bool = False,
    max_bytes: int = MAX_BYTES,
) -> Fetched:
    """Unpacks an archive; a folder around everything else in it is taken away.

    Raises:
        DatasetError: the folder exists, or the archive cannot be trusted or read.
    """
    folder = output or default_folder(archive)
    _require_new(folder, force)
    with atomic_folder(folder, may_replace=lambda there: force and was_fetched(there)) as temporary:
        unpacked = unpack_archive(archive, temporary, max_bytes=max_bytes)
        if not unpacked.n_files:
            raise DatasetError(
                f"There is no file in this archive. Expected images. Received: {archive}"
                + "".join(f"\n{note}" for note in unpacked.notes)
            )
        while (wrapper := _find_wrapper(temporary)) is not None:
            _lift(wrapper)
        (temporary / ARCHIVE_NOTE).write_text(json.dumps(_identify(archive)))
        packed = [folder / _find_lifted(temporary, place) for place in unpacked.packed]
    return Fetched(folder, unpacked.n_files, [*unpacked.notes, *_describe_packed(packed)])


def default_folder(archive: Path) -> Path:
    """`photos.tar.gz` -> `data/photos`."""
    suffixes = [suffix for suffix in ARCHIVE_SUFFIXES if archive.name.lower().endswith(suffix)]
    longest = max(map(len, suffixes), default=0)
    return DATA_FOLDER / (archive.name[:-longest] if longest else archive.name + "-unpacked")


def unpack_if_archive(source: Path, max_bytes: int = MAX_BYTES) -> tuple[Path, list[str]]:
    """The folder of an archive under `data/`, unpacked if it is not there yet; others as they are.

    Returns:
        The folder (or `source`), and what to say of it.

    Raises:
        DatasetError: the archive cannot be used, or another data set has its place.
    """
    if not is_archive(source) or not is_file(source):
        return source, []
    folder = default_folder(source)
    if not folder.exists():
        fetched = fetch_archive(source, folder, max_bytes=max_bytes)
        return folder, [f"Unpacked {fetched.n_files:,} files to {folder}/", *fetched.notes]
    if not _is_from(folder, source):
        how = "force=True" if was_fetched(folder) else "output=FOLDER"
        raise DatasetError(
            f"{source} would be unpacked to {folder}/, which exists and came from elsewhere. "
            f"Expected no such folder, or one unpacked from this very file.\nUse the folder "
            f"itself, or unpack it yourself: `frostline.fetch({source}, {how})`."
        )
    return folder, [f"{source} was unpacked to {folder}/ before; that is used."]


def _require_new(folder: Path, force: bool) -> None:
    with storage_errors(folder):
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return
    if force and not was_fetched(folder):
        raise DatasetError(
            "This folder was not made by `frostline.fetch()`, so it is not replaced. Expected a "
            f"new one, or one that was fetched. Received: {folder}\n"
            "Choose another `output`, or move the folder away."
        )
    if not force:
        raise DatasetError(
            f"This folder exists already. Expected a new one. Received: {folder}\n"
            "It may be the data set that you want; fetch it anew with `force=True`."
        )


def _identify(archive: Path) -> dict:
    status = archive.stat()
    return {"archive": archive.name, **_stamp(status), "sha256": sha256_of_file(archive)}


def _stamp(status: os.stat_result) -> dict[str, int]:
    """What tells that a file is untouched: its size, and all that the file system notes of it."""
    return {
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
    }


def _is_from(folder: Path, archive: Path) -> bool:
    try:
        note = json.loads((folder / ARCHIVE_NOTE).read_text())
    except (OSError, ValueError, RecursionError):
        return False
    if not isinstance(note, dict) or "archive" not in note:
        return False
    stamp = _stamp(archive.stat())  # notes of older versions have less of it
    is_untouched = all(note.get(name, value) == value for name, value in stamp.items())
    return is_untouched or note.get("sha256") == sha256_of_file(archive)


def _find_wrapper(folder: Path) -> Path | None:
    """The one folder around everything, unless it is itself a class or a split."""
    with os.scandir(folder) as entries:
        listed = [
            entry for entry in entries if entry.is_dir() or find_reason_to_pass(entry) is None
        ]
    if len(listed) != 1 or not listed[0].is_dir() or split_of_name(listed[0].name) is not None:
        return None
    wrapper = Path(listed[0].path)
    return wrapper if any(inner.is_dir() for inner in wrapper.iterdir()) else None


def _lift(wrapper: Path) -> None:
    """Moves what is in a folder to the folder above; what is there already stays."""
    emptied = wrapper.rename(wrapper.with_name(".frostline-wrapper"))
    for inner in emptied.iterdir():
        target = wrapper.parent / inner.name
        if not target.exists():
            inner.rename(target)
        elif inner.is_file():
            inner.unlink()  # a README beside the folder and one in it
    emptied.rmdir()


def _find_lifted(folder: Path, place: str) -> Path:
    """Where a file is now that the folders around everything are gone."""
    parts = Path(place).parts
    kept = (Path(*parts[start:]) for start in range(len(parts)))
    return next((path for path in kept if (folder / path).exists()), Path(place))


def _describe_packed(archives: list[Path]) -> list[str]:
    if not archives:
        return []
    shown = ", ".join(f"`frostline.fetch({path})`" for path in archives[:_N_SHOWN])
    more = f", and {len(archives) - _N_SHOWN:,} more" if len(archives) > _N_SHOWN else ""
    return [f"{len(archives):,} file(s) in it are archives, too. To unpack them: {shown}{more}."]


def _download(download: Download) -> Path:
    """The archive in Keras's folder, its hash checked; downloaded where it is not there."""
    from pipeline.system.keras_on_tensorflow import keras

    name = download.url.rsplit("/", 1)[-1]
    try:
        # Keras's download prints its progress to stdout, which belongs to results.
        with redirect_stdout(sys.stderr), _socket_timeout(_TIMEOUT_SECONDS):
            return Path(
                keras.utils.get_file(
                    name, download.url, file_hash=download.sha256, hash_algorithm="sha256"
                )
            )
    except Exception as error:  # get_file raises plain Exception for network errors
        raise DatasetError(
            f"{download.url} cannot be downloaded: {error}. Expected {download.n_bytes / 1e6:.0f} "
            "MB over the network.\nFetch it elsewhere and unpack it with "
            f"`frostline.fetch({name}, output='data/flowers')`; or take a data set that needs no "
            "network: `frostline.fetch('digits')`."
        ) from error


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
