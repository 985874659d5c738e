"""Which files of a folder may be images, and why the others are passed over.

A name is a hint, the content decides: of a file whose name says that it is something else, or
says nothing, the first bytes are read. What is a candidate ends as a row or as a reason.
"""

import codecs
import os
from pathlib import Path

from pipeline.system.paths import is_file, open_regular_file

# What Frostline leaves in a folder that it fetched, or unpacked an archive to.
ARCHIVE_NOTE = ".frostline-archive.json"

_SYSTEM_NAMES = {
    *("__MACOSX", "Thumbs.db", "desktop.ini", "@eaDir", "lost+found"),
    *("$RECYCLE.BIN", "System Volume Information"),
}
_OTHER_EXTENSIONS = frozenset(
    ".txt .md .rst .csv .tsv .json .jsonl .xml .html .htm .yaml .yml .ini .cfg .toml .log .db "
    ".py .ipynb .m .mat .npy .npz .h5 .hdf5 .pkl .zip .tar .gz .tgz .7z .rar .pdf .doc .docx "
    ".xls .xlsx .ppt .pptx .exe .sh .bat .mp3 .wav .mp4 .mov .avi .sha256 .md5 .lnk .url".split()
)
# Marks that no other kind of file begins with. Pillow's own are shorter: a text may begin with BM.
_IMAGE_MARKS = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*"),
    *(b"II+\0\x08\0", b"MM\0+\0\x08", b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51\0"),
)
_IMAGE_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"mif1")
_BMP_HEADER_BYTES = {12, 40, 52, 56, 64, 108, 124}
_MARK_BYTES = 32
_TEXT_CONTROLS = b"\t\n\f\r\x1b"
_TEXT_BYTES = 512


def was_fetched(folder: Path) -> bool:
    """Whether Frostline made this folder, so that it may replace it."""
    return is_file(folder / ARCHIVE_NOTE)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is none of the data set's: hidden, or an operating system's own."""
    return name.startswith(".") or name in _SYSTEM_NAMES


def suffix_of(name: str) -> str:
    """As `PurePath(name).suffix`, which takes ten times as long."""
    place = name.rfind(".")
    return name[place:] if 0 < place < len(name) - 1 else ""


def may_be_image_by_name(name: str) -> bool:
    """Whether a file's extension, if it has one, is not known to be something else's."""
    return suffix_of(name).lower() not in _OTHER_EXTENSIONS


def find_reason_to_pass(entry: os.DirEntry[str]) -> str | None:
    """Why an entry of a folder is not a candidate image; empty for what is not worth a word."""
    try:
        is_folder, is_file = entry.is_dir(), entry.is_file()
        if is_hidden(entry.name):
            kind = "hidden folders" if is_folder else "hidden files"
            return "" if entry.name == ARCHIVE_NOTE else kind
        if not is_file:
            return "" if is_folder else "broken links and special files"
        entry.stat()
        return None if _may_be_image(entry) else _describe_other_file(entry)
    except OSError:
        return "files that vanished or cannot be read"


def _may_be_image(entry: os.DirEntry[str]) -> bool:
    """Whether a file should end as a row or as a reason."""
    if not suffix_of(entry.name):
        return not _is_text(Path(entry.path))
    return may_be_image_by_name(entry.name) or _is_surely_image(Path(entry.path))


def _describe_other_file(entry: os.DirEntry[str]) -> str:
    extension = suffix_of(entry.name).lower()
    return f"{extension or 'unnamed'} files, which are not images"


def _is_surely_image(path: Path) -> bool:
    """Whether a file begins with the mark of an image format."""
    with open_regular_file(path) as file:
        start = file.read(_MARK_BYTES)
    return (
        start.startswith(_IMAGE_MARKS)
        or (start.startswith(b"RIFF") and start[8:12] == b"WEBP")
        or (start[4:8] == b"ftyp" and start[8:12] in _IMAGE_BRANDS)
        or (start.startswith(b"BM") and int.from_bytes(start[14:18], "little") in _BMP_HEADER_BYTES)
    )


def _is_text(path: Path) -> bool:
    """Whether a file begins like a README: UTF-8 without control characters, or nothing at all."""
    with open_regular_file(path) as file:
        start = file.read(_TEXT_BYTES)
    if any(byte < 32 and byte not in _TEXT_CONTROLS for byte in start):
        return False
    try:  # the last character may be cut
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return True
