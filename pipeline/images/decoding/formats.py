"""Finds the format of an image file by its content, and words for what is wrong with it."""

import contextlib
import ctypes
import functools
import logging
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import BinaryIO

from PIL import Image
from PIL.ImageFile import ImageFile

from pipeline.errors import ImageError
from pipeline.images.decoding.tiff_kinds import describe_tiff, repair_planes
from pipeline.system.printable import printable

# Formats that Pillow lists but that need a foreign program, or that could hide one that does.
_REFUSED = {"EPS", "WMF", "IPTC", "MPEG", "BUFR", "GRIB", "HDF5"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_POSTSCRIPT_STARTS = (b"%!PS", b"\xc5\xd0\xd3\xc6")

# Pillow's words for a file that it does not support, though there is nothing wrong with it.
_UNSUPPORTED = re.compile(
    r"unsupported|not (yet )?supported|unimplemented|not implemented|cannot handle|"
    r"unable to determine|unknown (pixel|mode|\w+ mode)",
    re.IGNORECASE,
)

_opening = threading.local()


class _SayNothingTwice(logging.Filter):
    """Keeps back what Pillow logs while an image is opened here: it is in the image's reason, and
    the log would not name the file.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(_opening, "is_here", False)


logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its errors go to stderr
logging.getLogger("PIL.TiffImagePlugin").addFilter(_SayNothingTwice())


def silence_pillow() -> None:
    """Keep warnings off stderr: what is wrong with an image is in its reason.

    The one filter is put back where someone has reset them; `catch_warnings` is no choice, for
    in threads it can lose the filters of others.
    """
    if ("ignore", None, Warning, re.compile(r"PIL\b"), 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=r"PIL\b")
    _silence_libtiff()


@functools.cache
def _silence_libtiff() -> None:
    """The TIFF library inside Pillow prints by itself, past Python."""
    with contextlib.suppress(OSError, AttributeError):  # it may be linked in another way
        library = ctypes.CDLL(Image.core.__file__)
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)


def _list_formats() -> Iterator[str]:
    """Pillow's formats, common ones first; last those without a mark, which accept anything."""
    for register in (Image.preinit, Image.init):
        register()
        yield from [name for name, (_, accepts) in list(Image.OPEN.items()) if accepts]
    yield from [name for name, (_, accepts) in list(Image.OPEN.items()) if not accepts]


def open_image(data: bytes, stream: BinaryIO) -> ImageFile:
    """Find the format by content and read the header.

    `Image.open` does the same, but forgets why a file was refused, lets Ghostscript run, and has
    a pixel limit that belongs to the whole process.

    Args:
        data: the file's bytes, or the first ones.
        stream: the file.
    """
    silence_pillow()
    if data.startswith(_POSTSCRIPT_STARTS):
        raise ImageError("PostScript is not decoded: it would need Ghostscript. Convert it first")
    reason = None
    tried = set(_REFUSED)
    for name in _list_formats():
        if name in tried:
            continue
        tried.add(name)
        factory, accepts = Image.OPEN[name]
        accepted = accepts is None or accepts(data[:16].ljust(16, b"\0"))
        if isinstance(accepted, str):  # this Pillow was built without the format
            reason = reason or f"not decoded: {accepted}"
        elif accepted:
            try:
                return _open_as(name, factory, stream)
            except ImageError as error:
                reason = reason or str(error)
            except Exception as error:  # as below: anything may come
                if accepts is not None:
                    reason = reason or describe_damage(name, error)
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return _open_heif(stream)
    start = data[:4].decode("ascii", "replace")
    is_text = start.isascii() and start.isprintable()
    start = f"'{start}'" if is_text else f"the bytes {data[:4].hex(' ')}"
    raise ImageError(reason or f"not an image (starts with {start})")


def _open_as(
    name: str, factory: Callable[[BinaryIO, str], ImageFile], stream: BinaryIO
) -> ImageFile:
    stream.seek(0)
    _opening.is_here = True
    try:
        image = factory(stream, "")
    except Exception as error:
        reason = describe_tiff(stream) if name == "TIFF" else None
        if reason is None:
            raise
        raise ImageError(reason) from error
    finally:
        _opening.is_here = False
    if name == "TIFF":
        repair_planes(image)
    return image


def _open_heif(stream: BinaryIO) -> ImageFile:
    try:
        from pillow_heif.as_plugin import HeifImageFile
    except ImportError:
        raise ImageError("HEIC needs the package pillow-heif: pip install .[heif]") from None
    try:
        stream.seek(0)
        return HeifImageFile(stream, "")
    except Exception as error:
        raise ImageError(describe_damage("HEIC", error)) from error


def describe_damage(format_name: str | None, error: Exception) -> str:
    """Words for what Pillow raised; the part before the colon is the same for the same trouble."""
    text = printable(" ".join(str(error).split()))[:200] or type(error).__name__
    if text == "not identified by this driver":  # what Pillow says of any header it can't use
        text = "its header makes no sense"
    if isinstance(error, Image.DecompressionBombError):
        return f"too large: {text.split(',', maxsplit=1)[0]}"
    if isinstance(error, MemoryError):
        return "too large: there is not enough memory"
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return f"truncated: {text}"
    if isinstance(error, NotImplementedError) or _UNSUPPORTED.match(text):
        return f"not decoded: {name_format(format_name)}, {text}"
    return f"damaged {name_format(format_name)}: {text}"


def name_format(format_name: str | None) -> str:
    if format_name is None:
        return "image"
    return {"JPEG2000": "JPEG 2000", "WEBP": "WebP"}.get(format_name, format_name)
