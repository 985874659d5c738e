"""The only decoder: the bytes of an image file to upright RGB pixels of one size.

A picture comes out as an image viewer would show it, or an `ImageError` says why it can't; no
other exception leaves, whatever the bytes. Safe to call from several threads at once.
"""

import contextlib
import ctypes
import functools
import io
import logging
import re
import threading
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image

from pipeline.errors import ImageError

DECODER_VERSION = 1  # raise it by hand whenever other pixels would come out for a file

RESIZE_MODES = ("stretch", "crop", "pad")
MAX_PIXELS = 178_956_970  # Pillow's own limit: a quarter of a GiB of RGB
LARGE_PIXELS = 50_000_000  # larger images are decoded one at a time, so that memory is bounded
STRIP_PIXELS = 1 << 22  # colours are converted in strips of about this size

# Cheap shrinking stops at these multiples of the wanted size, the rest is left to the filter.
# Measured on photos of 1000 to 4000 pixels: higher ones cost time and change nothing to speak of.
DRAFT_GAP = 2.0  # of JPEGs, by 2, 4 or 8 inside the decoder
REDUCING_GAP = 3.0  # by any whole factor; 3 is hardly told from none, says Pillow's manual

# Formats that Pillow lists but that need a foreign program, or that could hide one that does.
_REFUSED = {"EPS", "WMF", "IPTC", "MPEG", "BUFR", "GRIB", "HDF5"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_POSTSCRIPT_STARTS = (b"%!PS", b"\xc5\xd0\xd3\xc6")
_ORIENTATION = 0x0112  # EXIF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ICC_SPACES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}

_large_image = threading.Lock()
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its errors go to stderr


def decode_image(
    data: bytes,
    image_size: int,
    resize: str = "stretch",
    background: tuple[int, int, int] = (255, 255, 255),
    *,
    max_pixels: int = MAX_PIXELS,
    truncated: str = "skip",
) -> np.ndarray:
    """Decode an image file.

    Bilinear with antialiasing. An image far larger than wanted is first shrunk in cheaper ways,
    a JPEG while it is decoded, but to no less than twice the wanted size.

    Args:
        data: the file's bytes. Its name is of no interest: the content tells the format.
        image_size: side of the result, in pixels.
        resize: `stretch` changes the proportions; `crop` fits the shorter side and cuts the
            middle out; `pad` fits the longer side and fills up with the background.
        background: RGB 0..255 behind transparent pixels and around padded images.
        max_pixels: an image with more pixels is an error, before anything is decoded.
        truncated: what a file that was cut short is: `skip` an error, `keep` what is there.

    Returns:
        uint8 array `(image_size, image_size, 3)`, RGB, upright.

    Raises:
        ImageError: if there is no picture in `data`; its text is a reason for people.
        ValueError: if `resize` or `truncated` is none of the words above.
    """
    if resize not in RESIZE_MODES:
        raise ValueError(f"resize must be one of {RESIZE_MODES}. Received: resize={resize!r}")
    if truncated not in ("skip", "keep"):
        raise ValueError(f"truncated must be skip or keep. Received: truncated={truncated!r}")
    if not data:
        raise ImageError("empty file")
    _silence_pillow()
    stream = io.BytesIO(data)
    image = _open_image(data, stream)
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"too large: {width} x {height} pixels is more than the limit of {max_pixels:,}"
        )
    turnstile = _large_image if width * height > LARGE_PIXELS else contextlib.nullcontext()
    try:
        with image, turnstile:
            scale = _draft(image, image_size, resize)
            _load(image, stream, truncated)
            if image.format == "PNG":
                _correct_transparency(image, bit_depth=data[24])
            # After a draft the size was rounded up; the fraction keeps the picture in its place.
            size = (width / scale, height / scale) if scale > 1 else image.size
            return _render(image, size, image_size, resize, tuple(background))
    except ImageError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise ImageError(_describe(image.format, error)) from error


def _silence_pillow() -> None:
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


def _open_image(data: bytes, stream: io.BytesIO) -> Image.Image:
    """Find the format by content and read the header.

    `Image.open` does the same, but forgets why a file was refused, lets Ghostscript run, and has
    a pixel limit that belongs to the whole process.
    """
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
                stream.seek(0)
                return factory(stream, "")
            except Exception as error:  # as below: anything may come
                if accepts is not None:
                    reason = reason or _describe(name, error)
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return _open_heif(stream)
    start = data[:4].decode("ascii", "replace")
    start = start if start.isascii() and start.isprintable() else f"the bytes {data[:4].hex(' ')}"
    raise ImageError(reason or f"not an image (starts with {start})")


def _open_heif(stream: io.BytesIO) -> Image.Image:
    try:
        from pillow_heif.as_plugin import HeifImageFile
    except ImportError:
        raise ImageError("HEIC needs the package pillow-heif: pip install .[heif]") from None
    try:
        stream.seek(0)
        return HeifImageFile(stream, "")
    except Exception as error:
        raise ImageError(_describe("HEIC", error)) from error


def _describe(format_name: str | None, error: Exception) -> str:
    """Words for what Pillow raised; the part before the colon is the same for the same trouble."""
    text = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, Image.DecompressionBombError):
        return f"too large: {text.split(',', maxsplit=1)[0]}"
    if isinstance(error, MemoryError):
        return "too large: there is not enough memory"
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return f"truncated: {text}"
    name = {"JPEG2000": "JPEG 2000", None: "image"}.get(format_name, format_name)
    return f"damaged {name}: {text}"


def _draft(image: Image.Image, image_size: int, resize: str) -> int:
    """Tell the JPEG decoder to deliver 1/2, 1/4 or 1/8 of the size; returns that divisor."""
    if image.format not in ("JPEG", "MPO"):
        return 1
    width, height = image.size
    box, (new_width, new_height) = _fit(image.size, image_size, resize)
    surplus = min((box[2] - box[0]) / new_width, (box[3] - box[1]) / new_height) / DRAFT_GAP
    scale = next((scale for scale in (8, 4, 2) if scale <= surplus), 1)
    if scale > 1:
        image.draft(None, (width // scale, height // scale))
    return scale


def _load(image: Image.Image, stream: io.BytesIO, truncated: str) -> None:
    """Decode the pixels; with `keep`, as many as there are.

    Pillow has a switch for that, but it is one for all threads.
    """
    try:
        image.load()
        return
    except OSError as error:
        if truncated == "skip" or "truncated" not in str(error).lower():
            raise
    if image.format in ("JPEG", "MPO"):
        stream.seek(0, io.SEEK_END)
        stream.write(b"\xff\xd9")  # the end marker that is missing
        image.load()
    elif image.tile:  # else only what follows the pixels is missing
        image.tile = []  # Pillow would begin again
        image.load_end()
    # From nothing a JPEG decoder makes one block of noise and repeats its last colour.
    top = 16 if image.height > 16 else 0
    extrema = image.crop((0, top, *image.size)).getextrema()
    bands = extrema if isinstance(extrema[0], tuple) else (extrema,)
    if all(low == high for low, high in bands):
        raise ImageError("truncated: the file ends before the picture begins")


def _correct_transparency(image: Image.Image, bit_depth: int) -> None:
    """Bring the transparent colour of a PNG to the scale of its decoded pixels."""
    key = image.info.get("transparency")
    if image.mode == "L" and isinstance(key, int):
        image.info["transparency"] = key * 255 // (2**bit_depth - 1)
    elif image.mode == "RGB" and key is not None and bit_depth == 16:
        # Pillow keeps the high bytes only, so colours that share them count as one.
        image.info["transparency"] = tuple(value >> 8 for value in key)


def _render(
    image: Image.Image,
    size: tuple[float, float],
    image_size: int,
    resize: str,
    background: tuple[int, int, int],
) -> np.ndarray:
    """Convert, shrink, resize, turn upright and pad a decoded image."""
    box, new_size = _fit(size, image_size, resize)
    factors = tuple(int((box[i + 2] - box[i]) / new_size[i] / REDUCING_GAP) or 1 for i in range(2))
    rgb = _shrink_to_rgb(image, factors, background)
    box = tuple(min(box[i] / factors[i % 2], rgb.size[i % 2]) for i in range(4))
    rgb = rgb.resize(new_size, Image.Resampling.BILINEAR, box=box)
    turn = _TURNS.get(_read_orientation(image))
    if turn is not None:
        rgb = rgb.transpose(turn)
    if resize == "pad":
        canvas = Image.new("RGB", (image_size, image_size), background)
        canvas.paste(rgb, ((image_size - rgb.width) // 2, (image_size - rgb.height) // 2))
        rgb = canvas
    return np.array(rgb)


def _fit(
    size: tuple[float, float], image_size: int, resize: str
) -> tuple[tuple[float, float, float, float], tuple[int, int]]:
    """Returns the part of the picture that is used (left, top, right, bottom) and its new size."""
    width, height = size
    if resize == "crop":
        side = min(size)
        left, top = (width - side) / 2, (height - side) / 2
        return (left, top, left + side, top + side), (image_size, image_size)
    if resize == "pad":
        new_width, new_height = (max(1, round(image_size * n / max(size))) for n in size)
        return (0, 0, width, height), (new_width, new_height)
    return (0, 0, width, height), (image_size, image_size)


def _read_orientation(image: Image.Image) -> int | None:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # a broken EXIF block says nothing, and spoils nothing
        return None


def _shrink_to_rgb(
    image: Image.Image, factors: tuple[int, int], background: tuple[int, int, int]
) -> Image.Image:
    """Convert to RGB and shrink by whole factors, in strips: no second copy of a huge image."""
    levels = _find_levels(image)
    strips = list(_strip_boxes(image.size, factors[1]))
    if len(strips) == 1:
        return _to_rgb(image, levels, background).reduce(factors)
    canvas = Image.new("RGB", (-(-image.width // factors[0]), -(-image.height // factors[1])))
    for box in strips:
        strip = _to_rgb(image.crop(box), levels, background).reduce(factors)
        canvas.paste(strip, (0, box[1] // factors[1]))
    return canvas


def _strip_boxes(size: tuple[int, int], multiple: int = 1) -> Iterator[tuple[int, int, int, int]]:
    width, height = size
    rows = max(1, STRIP_PIXELS // width // multiple) * multiple
    for top in range(0, height, rows):
        yield 0, top, width, min(top + rows, height)


def _find_levels(image: Image.Image) -> tuple[float, float] | None:
    """The values that are shown as black and as white, for pixels of more than 8 bits.

    The full range of their type where it is known, so that images stay comparable; where it is
    not (32 bits), the least of the usual ranges that holds all values, else their own range.
    """
    if image.mode.startswith("I;16"):
        bits = image.tag_v2.get(258, (16,))[0] if image.format == "TIFF" else 16
        return 0, 2**bits - 1
    if image.mode == "I" and image.format == "PPM":
        return 0, 65535
    if image.mode not in ("I", "F"):
        return None
    low, high = np.inf, -np.inf
    for box in _strip_boxes(image.size):
        values = np.asarray(image.crop(box))
        values = values[np.isfinite(values)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low > high:
        raise ImageError("no pixel has a finite value")
    usual = (1, 255) if image.mode == "F" else (255, 65535)
    return next(((0, white) for white in usual if low >= 0 and high <= white), (low, high))


def _to_rgb(
    image: Image.Image, levels: tuple[float, float] | None, background: tuple[int, int, int]
) -> Image.Image:
    """Any mode of Pillow's to RGB in sRGB, composed over the background."""
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    elif image.mode in ("RGBa", "La"):  # premultiplied
        image = image.convert(image.mode[:-1] + "A")
    key = image.info.pop("transparency", None)
    alpha = None
    if image.mode in ("RGBA", "LA"):
        alpha = image.getchannel("A")
        image = image.convert(image.mode[:-1])
    elif key is not None and (image.mode in ("L", "RGB") or image.mode.startswith("I;16")):
        is_opaque = np.asarray(image) != key
        is_opaque = is_opaque.any(axis=2) if is_opaque.ndim == 3 else is_opaque
        alpha = Image.fromarray(is_opaque.astype(np.uint8) * 255)
    if levels is not None:
        profile = image.info.get("icc_profile")
        image = Image.fromarray(_to_8_bits(np.asarray(image), *levels))
        image.info["icc_profile"] = profile
    image = _to_srgb(image)
    if alpha is not None and alpha.getextrema()[0] < 255:
        canvas = Image.new("RGB", image.size, background)
        canvas.paste(image, mask=alpha)
        return canvas
    return image


def _to_8_bits(values: np.ndarray, low: float, high: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        scaled = (values.astype(np.float64) - low) * (255 / ((high - low) or 1))
    return np.nan_to_num(np.clip(np.rint(scaled), 0, 255)).astype(np.uint8)


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if isinstance(profile, bytes) and image.mode in _ICC_SPACES.values():
        transform = _find_colour_transform(profile, image.mode)
        if transform is not None:
            return transform.apply(image)
    return image if image.mode == "RGB" else image.convert("RGB")


@functools.lru_cache(maxsize=32)
def _find_colour_transform(profile: bytes, mode: str):
    """The way from an ICC profile to sRGB; None where there is none or nothing would change."""
    try:
        from PIL import ImageCms

        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if _ICC_SPACES.get(source.profile.xcolor_space) != mode:
            return None
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except Exception:  # a broken profile, or a Pillow without LittleCMS: colours as they are
        return None
    # Most profiles are sRGB under one of many names: known by what it does to some colours.
    probe = np.random.default_rng(0).bytes(32 * 32 * len(mode))
    colours = Image.frombytes(mode, (32, 32), probe)
    change = np.asarray(transform.apply(colours)).astype(int) - np.asarray(colours.convert("RGB"))
    return transform if np.abs(change).max() > 2 else None
