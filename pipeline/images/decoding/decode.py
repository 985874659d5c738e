"""The only decoder: the bytes of an image file to upright RGB pixels of one size.

A picture comes out as an image viewer would show it, or an `ImageError` says why it can't; no
other exception leaves, whatever the bytes. Safe to call from several threads at once.
"""

import contextlib
import io
import threading
from contextlib import AbstractContextManager

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from pipeline.errors import ImageError
from pipeline.images.decoding import jpeg2000_ends, jpeg_ends
from pipeline.images.decoding.colours import correct_transparency, shrink_to_rgb
from pipeline.images.decoding.formats import (
    describe_damage,
    name_format,
    open_image,
    silence_pillow,
)
from pipeline.images.decoding.jpeg_scans import holds_whole_picture

DECODER_VERSION = 2  # raise it by hand whenever other pixels would come out for a file

RESIZE_MODES = ("stretch", "crop", "pad")
MAX_PIXELS = 178_956_970  # Pillow's own limit: a quarter of a GiB of RGB
MAX_BYTES = 512 * 2**20  # of a file
LARGE_PIXELS = 50_000_000  # larger images are decoded one at a time, so that memory is bounded

# Decoders that hold several copies of an image: one of their pixels counts as so many, so that none
# takes more than about a GB. Measured at 36 million pixels, peak bytes per pixel: 17, 25, 9, 8 and
# 7, against 4 to 6 of other formats (8 of a progressive CMYK JPEG).
_PIXEL_COSTS = {"WEBP": 3.5, "JPEG2000": 5.0, "AVIF": 2.0, "HEIF": 1.5, "QOI": 1.5}

# Cheap shrinking stops at these multiples of the wanted size, the rest is left to the filter.
# Measured on photos of 1000 to 4000 pixels: higher ones cost time and change nothing to speak of.
DRAFT_GAP = 2.0  # of JPEGs, by 2, 4 or 8 inside the decoder
REDUCING_GAP = 3.0  # by any whole factor; 3 is hardly told from none, says Pillow's manual

_ORIENTATION, _UPRIGHT = 0x0112, 1  # EXIF
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_large_image: AbstractContextManager = threading.Lock()  # held while one is decoded
# Pillow holds an image in blocks. Those of 32 MiB and more are given back to the system when they
# are freed (glibc, M_MMAP_THRESHOLD); its default of 16 stays with the thread that was first.
Image.core.set_block_size(64 * 2**20)


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
        max_pixels: an image with more pixels is an error, before anything is decoded. Of formats
            that need several times the memory, fewer are allowed.
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
    silence_pillow()
    stream = io.BytesIO(data)
    image = open_image(data, stream)
    width, height = image.size
    counted_pixels = width * height * _PIXEL_COSTS.get(image.format or "", 1)
    if counted_pixels > max_pixels:
        raise ImageError(_describe_too_large(image, max_pixels))
    turnstile = _large_image if counted_pixels > LARGE_PIXELS else contextlib.nullcontext()
    try:
        with image, turnstile:
            scale = _draft(image, image_size, resize)
            _load(image, stream, truncated)
            if image.format == "PNG":
                correct_transparency(image, bit_depth=data[24])
            # After a draft the size was rounded up; the fraction keeps the picture in its place.
            size = (width / scale, height / scale) if scale > 1 else image.size
            return _render(image, size, image_size, resize, background)
    except ImageError:
        raise
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise ImageError(describe_damage(image.format, error)) from error


def render_image(
    image: Image.Image,
    image_size: int,
    resize: str = "stretch",
    background: tuple[int, int, int] = (255, 255, 255),
    *,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Bring an image that is decoded already to size, as `decode_image` does with a file.

    The same pixels come out as from a file of them in a format without loss. (From a JPEG that is
    far larger than wanted `decode_image` gets other ones: it shrinks while it decodes.)

    Args:
        image: of any of Pillow's modes; it is not changed.
        image_size, resize, background, max_pixels: as in `decode_image`.

    Returns:
        uint8 array `(image_size, image_size, 3)`, RGB, upright.

    Raises:
        ImageError: if it cannot be rendered; its text is a reason for people.
    """
    silence_pillow()
    if image.width * image.height > max_pixels:
        raise ImageError(_describe_too_large(image, max_pixels))
    turnstile = (
        _large_image if image.width * image.height > LARGE_PIXELS else contextlib.nullcontext()
    )
    try:
        with turnstile:
            image.load()
            return _render(image, image.size, image_size, resize, background)
    except Exception as error:  # a file that is damaged is found out while its pixels are loaded
        raise ImageError(describe_damage(image.format, error)) from error


def share_turnstile(lock: AbstractContextManager[object]) -> None:
    """Decodes large images one at a time in all processes that share this lock."""
    global _large_image  # noqa: PLW0603 - set once, when a worker process starts
    _large_image = lock


def _describe_too_large(image: Image.Image, max_pixels: int) -> str:
    width, height = image.size
    cost = _PIXEL_COSTS.get(image.format or "", 1)
    of_format = f" of {name_format(image.format)}" if cost > 1 else ""
    limit = int(max_pixels / cost)
    return f"too large: {width} x {height} pixels{of_format} is more than the limit of {limit:,}"


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


def _load(image: ImageFile, stream: io.BytesIO, truncated: str) -> None:
    """Decode the pixels; with `keep`, as many as there are.

    Pillow has a switch for that, but it is one for all threads.
    """
    is_jpeg = image.format in ("JPEG", "MPO")
    try:
        if _load_and_look(image, stream):
            return
        problem: Exception = ImageError("truncated: its data end before its last rows")
    except OSError as error:
        if "truncated" not in str(error).lower():
            raise
        if is_jpeg and _load_without_end(image, stream):
            return
        problem = error
    if truncated == "skip":
        raise problem
    if not is_jpeg and image.tile:  # else only what follows the pixels is missing
        image.tile = []  # Pillow would begin again
        image.load_end()
    if _is_plain(image, is_jpeg=is_jpeg):
        raise ImageError("truncated: the file ends before the picture begins")


def _load_and_look(image: ImageFile, stream: io.BytesIO) -> bool:
    """Decode; returns whether all is there, where a decoder would pass over it in silence."""
    if image.format in ("JPEG", "MPO"):
        image.load()
        return not jpeg_ends.is_cut_short(image, stream.getvalue())
    if image.format != "JPEG2000":
        image.load()
        return True
    tiles = jpeg2000_ends.find_tiles(stream.getvalue())
    if tiles.are_whole and tiles.n_end_bytes is not None:
        _append(stream, jpeg2000_ends.END_MARKER[tiles.n_end_bytes :])
    image.load()
    return tiles.are_whole


def _load_without_end(image: ImageFile, stream: io.BytesIO) -> bool:
    """Decode a JPEG that lacks its end marker; returns whether it lacks nothing else."""
    data = stream.getvalue()
    _append(stream, jpeg_ends.END_MARKER)
    image.load()
    # The second look is exact, the first one fast.
    return not jpeg_ends.is_cut_short(image, stream.getvalue()) and holds_whole_picture(data)


def _append(stream: io.BytesIO, data: bytes) -> None:
    place = stream.seek(0, io.SEEK_CUR)
    stream.seek(0, io.SEEK_END)
    stream.write(data)
    stream.seek(place)


def _is_plain(image: Image.Image, *, is_jpeg: bool) -> bool:
    """Whether the picture has one colour only, apart from where it begins.

    From nothing a JPEG decoder makes one block of noise, of 16 pixels and what upsampling spreads.
    """
    width, height = image.size
    top = 18 if is_jpeg else 16 if height > 16 else 0
    boxes = [(0, top, width, height), *([(top, 0, width, height)] if is_jpeg else [])]
    parts = [image.crop(box) for box in boxes if box[0] < width and box[1] < height]
    bands = [band for part in parts for band in part.split()]
    return all(low == high for low, high in (band.getextrema() for band in bands))


def _render(
    image: Image.Image,
    size: tuple[float, float],
    image_size: int,
    resize: str,
    background: tuple[int, int, int],
) -> np.ndarray:
    """Convert, shrink, resize, turn upright and pad a decoded image."""
    box, new_size = _fit(size, image_size, resize)
    left, top, right, bottom = box
    across = int((right - left) / new_size[0] / REDUCING_GAP) or 1
    down = int((bottom - top) / new_size[1] / REDUCING_GAP) or 1
    rgb = shrink_to_rgb(image, (across, down), background)
    box = (
        min(left / across, rgb.width),
        min(top / down, rgb.height),
        min(right / across, rgb.width),
        min(bottom / down, rgb.height),
    )
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


def _read_orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, _UPRIGHT))
    except Exception:  # a broken EXIF block says nothing, and spoils nothing
        return _UPRIGHT
