"""Unpacks .zip and .tar archives of strangers without letting them write outside, or fill the disk.

Only regular files are ever written, one by one and by this module, so that no trick with links or
devices can work. Every name is checked before the first byte is written where the format allows.
"""

import bz2
import gzip
import io
import lzma
import os
import posixpath
import re
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from pipeline.errors import DatasetError
from pipeline.images.sources.candidates import is_hidden
from pipeline.system.disk import storage_errors

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
MAX_EXPANSION = 100  # times the size of the archive
MAX_BYTES = 100 * 10**9
_MOST_FOLDERS = 100  # in each other
_COPY_BYTES = 1 << 20
_LONGEST_TARGET = 4096  # of a link, bytes
_COMPRESSIONS: dict[bytes, Callable[[io.BufferedReader], io.BufferedIOBase]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError),
    *(ValueError, OverflowError, struct.error),  # numbers and names that make no sense
)


@dataclass
class Unpacked:
    """What came out of an archive: counts of files and bytes, and what was left out.

    `packed` are archives that it holds, relative to the folder: they stay as they are.
    """

    n_files: int = 0
    n_bytes: int = 0
    notes: list[str] = field(default_factory=list)
    packed: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Member:
    """An entry of an archive, whichever kind of archive it is."""

    name: str
    kind: str  # file, folder, link, hard link, or device or pipe
    size: int = 0  # bytes when unpacked
    target: str = ""  # of a link: from its folder, of a hard link: from the top
    handle: Any = None  # what the archive's own module calls it


def unpack_archive(archive: Path, folder: Path, *, max_bytes: int = MAX_BYTES) -> Unpacked:
    """Unpacks into an empty folder.

    Links to files of the archive become those files; all that an operating system added of its
    own (`__MACOSX`, `.DS_Store`, ...) is left out, and so are empty files and folders: a small
    archive may hold millions. Of two entries of one name the later counts, as for `tar`.

    Args:
        max_bytes: refuse to write more; never more than 100 times the archive's size either.

    Raises:
        DatasetError: it is no archive, is damaged, or holds what no data set needs: absolute
            paths, `..`, links that lead out, devices, more bytes than allowed. What was written
            until then is the caller's to remove.
    """
    limit = min(max_bytes, MAX_EXPANSION * archive.stat().st_size)
    unpacked = Unpacked()
    links: dict[str, str] = {}
    written: set[str] = set()
    n_empty = n_replaced = 0
    with _open(archive, limit) as (members, open_member):
        for member in members:
            place = _check_name(member, archive)
            if place != "." and any(is_hidden(part) for part in place.split("/")):
                continue
            if member.kind in ("link", "hard link"):
                links[place] = _check_target(member, place, archive)
            elif member.kind == "file" and member.size:
                if member.size < 0:
                    raise _refusal(archive, f"{member.name!r} has a size below 0", "a size")
                unpacked.n_bytes += member.size
                _require_below(unpacked.n_bytes, limit, archive)
                n_replaced += place in written
                with open_member(member) as source:
                    _write_file(source, member.size, folder / place, archive, place in written)
                written.add(place)
            elif member.kind == "file":
                n_empty += 1
            elif member.kind != "folder":
                raise _refusal(archive, f"it holds a {member.kind}, {member.name!r}", "only files")
    unpacked.n_files = len(written)
    unpacked.packed = sorted(place for place in written if is_archive_name(place))
    if n_empty:
        unpacked.notes.append(f"Left out {n_empty:,} empty file(s).")
    if n_replaced:
        unpacked.notes.append(f"{n_replaced:,} file(s) are in it more than once; the last counts.")
    _copy_links(links, folder, unpacked, limit, archive)
    return unpacked


def is_archive_name(name: str) -> bool:
    """Whether a file's name is that of an archive that is unpacked here."""
    return name.lower().endswith(ARCHIVE_SUFFIXES)


@contextmanager
def _open(
    archive: Path, limit: int
) -> Iterator[tuple[Iterator[_Member], Callable[[_Member], IO[bytes]]]]:
    """Gives the members, and a function that opens one."""
    try:
        with archive.open("rb") as file:
            start = file.read(2)
        if start == b"PK":
            with zipfile.ZipFile(archive) as packed:
                yield _list_zip(packed, limit, archive), lambda member: packed.open(member.handle)
        else:
            with _open_tar(archive, limit) as tar:
                yield _list_tar(tar), lambda member: _open_in_tar(tar, member)
    except _BROKEN as error:
        reason = str(error) or type(error).__name__
        raise DatasetError(
            f"This archive cannot be read: {reason}. Expected a whole .zip, .tar or .tar.gz. "
            f"Received: {archive}\nIt may be half a download: fetch it again."
        ) from error
    except (RuntimeError, NotImplementedError) as error:  # encrypted, or an exotic compression
        raise DatasetError(
            f"This archive cannot be unpacked here: {error}. Received: {archive}\n"
            "Unpack it by other means and give the folder."
        ) from error


def _list_zip(file: zipfile.ZipFile, limit: int, archive: Path) -> Iterator[_Member]:
    _require_below(sum(info.file_size for info in file.infolist()), limit, archive)
    for info in file.infolist():
        mode = info.external_attr >> 16
        name = info.filename.replace("\\", "/")
        if name.endswith("/"):
            yield _Member(name, "folder")
        elif stat.S_ISLNK(mode):
            with file.open(info) as link:
                target = os.fsdecode(link.read(_LONGEST_TARGET))
            yield _Member(name, "link", target=target)
        elif stat.S_IFMT(mode) in (0, stat.S_IFREG):
            yield _Member(name, "file", info.file_size, handle=info)
        else:
            yield _Member(name, "device or pipe")


@contextmanager
def _open_tar(archive: Path, limit: int) -> Iterator[tarfile.TarFile]:
    with archive.open("rb") as raw:
        start = raw.read(6)
        raw.seek(0)
        opener = next((way for sign, way in _COMPRESSIONS.items() if start.startswith(sign)), None)
        plain = _Bounded(opener(raw) if opener else raw, limit, archive)
        with tarfile.open(  # type: ignore[call-overload]  # asks for write, which no reading calls
            fileobj=plain, mode="r:", errors="surrogateescape"
        ) as file:
            yield file
        while plain.read(_COPY_BYTES):  # to the end, where the checksum is
            pass


def _list_tar(file: tarfile.TarFile) -> Iterator[_Member]:
    for info in file:
        if info.isfile():
            yield _Member(info.name, "file", info.size, handle=info)
        elif info.isdir():
            yield _Member(info.name, "folder")
        elif info.issym() or info.islnk():
            kind = "link" if info.issym() else "hard link"
            yield _Member(info.name, kind, target=info.linkname)
        else:
            yield _Member(info.name, "device or pipe")


def _open_in_tar(file: tarfile.TarFile, member: _Member) -> IO[bytes]:
    source = file.extractfile(member.handle)
    if source is None:
        raise tarfile.ReadError(f"{member.name!r} has no content")
    return source


class _Bounded:
    """A stream that refuses to be read further than `limit`, and more than a little at a time.

    A tar's own headers can be bombs too, and are read before any member is known.
    """

    _LARGEST_READ = 16 << 20

    def __init__(self, stream: io.BufferedIOBase, limit: int, archive: Path):
        self._stream = stream
        self._limit = max(limit, 2 * tarfile.RECORDSIZE)
        self._archive = archive
        self.tell = stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= self._LARGEST_READ:
            raise _refusal(self._archive, "one of its headers is huge", "headers of a few bytes")
        _require_below(self._stream.tell() + size, self._limit + self._LARGEST_READ, self._archive)
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_SET:
            _require_below(offset, self._limit + self._LARGEST_READ, self._archive)
        return self._stream.seek(offset, whence)


def _require_below(n_bytes: int, limit: int, archive: Path) -> None:
    if n_bytes <= limit:
        return
    size = archive.stat().st_size
    what = f"it would expand to more than {limit:,} bytes, from {size:,}"
    if limit < MAX_EXPANSION * size:
        raise DatasetError(
            f"This archive is not unpacked: {what}. Expected at most {limit:,} bytes. Received: "
            f"{archive}\nNothing was left behind. If there is room for it, allow more: "
            f"`frostline.fetch({archive}, max_bytes=N)`."
        )
    raise _refusal(
        archive,
        what,
        f"at most {MAX_EXPANSION} times its size; images hardly shrink when packed, so this may "
        "be a bomb",
    )


def _check_name(member: _Member, archive: Path) -> str:
    """The member's place below the folder, as a relative path without `.` and `..`."""
    name = member.name
    parts = re.split(r"[/\\]" if os.sep == "\\" else "/", name)
    is_absolute = name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[/\\]", name)
    place = posixpath.normpath(name)
    if is_absolute or ".." in parts or ".." in name.split("\\"):
        raise _refusal(archive, f"{name!r} would be written outside", "paths inside of it only")
    if place.count("/") > _MOST_FOLDERS:
        what = f"it holds folders more than {_MOST_FOLDERS} deep in each other, {name[:60]!r}..."
        raise _refusal(archive, what, "fewer")
    if "\0" in name or (place == "." and member.kind != "folder"):
        raise _refusal(archive, f"it holds a file without a name, {name!r}", "named files")
    return place


def _check_target(member: _Member, place: str, archive: Path) -> str:
    """Where a link leads, as a place below the folder."""
    start = posixpath.dirname(place) if member.kind == "link" else ""
    target = posixpath.normpath(posixpath.join(start, member.target))
    if posixpath.isabs(target) or target.split("/")[0] == ".." or re.match(r"[A-Za-z]:", target):
        raise _refusal(
            archive, f"the link {member.name!r} leads outside, to {member.target!r}", "none that do"
        )
    return target


def _make_folder(folder: Path, archive: Path) -> None:
    with storage_errors(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise _refusal(
                archive, f"{folder.name!r} is a file and a folder in it", "one of both"
            ) from None


def _write_file(source: IO[bytes], size: int, path: Path, archive: Path, may_replace: bool) -> None:
    _make_folder(path.parent, archive)
    if path.is_dir():
        raise _refusal(archive, f"{path.name!r} is a file and a folder in it", "one of both")
    with storage_errors(path):
        try:
            output = path.open("wb" if may_replace else "xb", buffering=0)
        except FileExistsError:
            raise _refusal(
                archive,
                f"it holds {path.name!r} and a name that differs in case or spelling only, which "
                "are one to this file system",
                "names that stay apart",
            ) from None
    left = size
    with output:
        while left and (block := source.read(min(left, _COPY_BYTES))):
            with storage_errors(path):
                output.write(block)
            left -= len(block)
    if source.read(1):  # which makes zipfile compare the checksum, too
        raise _refusal(archive, f"{path.name!r} is longer than it says", "what its header says")
    if left:
        raise DatasetError(
            f"This archive is cut short in {path.name!r}. Expected {size:,} bytes. Received: "
            f"{size - left:,} bytes, in {archive}\nIt may be half a download: fetch it again."
        )


def _copy_links(
    links: dict[str, str], folder: Path, unpacked: Unpacked, limit: int, archive: Path
) -> None:
    """Puts a copy of the file that a link leads to in the link's place."""
    n_left_out = 0
    for place, first_target in links.items():
        target, seen = first_target, {place}
        while target in links and target not in seen:
            seen.add(target)
            target = links[target]
        source, path = folder / target, folder / place
        if not source.is_file() or path.exists():
            n_left_out += 1
            continue
        unpacked.n_bytes += source.stat().st_size
        _require_below(unpacked.n_bytes, limit, archive)
        _make_folder(path.parent, archive)
        with storage_errors(path):
            shutil.copyfile(source, path)
        unpacked.n_files += 1
    if n_left_out:
        unpacked.notes.append(f"Left out {n_left_out:,} link(s) to folders or to nothing.")


def _refusal(archive: Path, what: str, expected: str) -> DatasetError:
    return DatasetError(
        f"This archive is not unpacked: {what}. Expected {expected}. Received: {archive}\n"
        "Nothing was left behind. If you trust it, unpack it by other means and give the folder."
    )
