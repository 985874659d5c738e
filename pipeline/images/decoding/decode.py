"""The only decoder: the bytes of an image file to upright RGB pixels of one size.

A picture comes out as an image viewer would show it, or an `ImageError` says why it can't; no
other exception leaves, whatever the bytes. Safe to call from several threads at once.
"""

import contextlib
import io
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from pipeline.errors import ImageError
from pipeline.images.decoding.colours import (
    correct_transparency,
    scale_colours,
    shrink_to_rgb,
)
from pipeline.images.decoding.depth import ask_for_low_bytes, depth_of, find_greatest, is_deep
from pipeline.images.decoding.formats import (
    describe_damage,
    name_format,
    open_image,
    silence_pillow,
)
from pipeline.images.decoding.load_pixels import load_pixels
from pipeline.recipe import FULL_DEPTH

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
    depth: int = FULL_DEPTH,
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
        depth: of pixels of 16 bits, where the file does not say how many are used, so many are: the
            greatest value that they hold is white.

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
    with _opened(data, max_pixels) as (image, stream):
        width, height = image.size
        scale = _draft(image, image_size, resize)
        depth = depth if depth < FULL_DEPTH and is_deep(image, data) else FULL_DEPTH
        load_pixels(image, stream, truncated)
        if depth < FULL_DEPTH and not image.mode.startswith("I"):
            _scale_colours(image, data, depth, truncated)
        elif image.format == "PNG":
            correct_transparency(image, bit_depth=data[24])
        # After a draft the size was rounded up; the fraction keeps the picture in its place.
        size = (width / scale, height / scale) if scale > 1 else image.size
        return _render(image, size, image_size, resize, background, depth)


def find_depth(data: bytes, *, max_pixels: int = MAX_PIXELS, truncated: str = "skip") -> int:
    """How many bits the pixels of an image file use, of 16 of which the file does not say it.

    Args:
        data, max_pixels, truncated: as in `decode_image`.

    Returns:
        One of `depth.DEPTHS`; 0 for all other images.

    Raises:
        ImageError: if there is no picture in `data`.
    """
    greatest = find_greatest_value(data, max_pixels=max_pixels, truncated=truncated)
    return 0 if greatest is None else depth_of(greatest)


def find_greatest_value(
    data: bytes, *, max_pixels: int = MAX_PIXELS, truncated: str = "skip"
) -> int | None:
    """The greatest value of the pixels of an image file of 16 bits, as `find_depth` goes by it.

    Returns:
        0..65535; None for all other images.

    Raises:
        ImageError: if there is no picture in `data`.
    """
    with _opened(data, max_pixels) as (image, stream):
        if not is_deep(image, data):
            return None
        load_pixels(image, stream, truncated)
        return find_greatest(image)


@contextlib.contextmanager
def _opened(data: bytes, max_pixels: int) -> Iterator[tuple[ImageFile, io.BytesIO]]:
    """Opens an image file, and makes an ImageError of whatever is raised meanwhile.

    Of large images one is open at a time.
    """
    if not data:
        raise ImageError("empty file")
    stream = io.BytesIO(data)
    image = open_image(data, stream)
    counted_pixels = image.width * image.height * _PIXEL_COSTS.get(image.format or "", 1)
    if counted_pixels > max_pixels:
        raise ImageError(_describe_too_large(image, max_pixels))
    turnstile = _large_image if counted_pixels > LARGE_PIXELS else contextlib.nullcontext()
    try:
        with image, turnstile:
            yield image, stream
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
    depth: int = FULL_DEPTH,
) -> np.ndarray:
    """Bring an image that is decoded already to size, as `decode_image` does with a file.

    The same pixels come out as from a file of them in a format without loss. (From a JPEG that is
    far larger than wanted `decode_image` gets other ones: it shrinks while it decodes.)

    Args:
        image: of any of Pillow's modes; it is not changed.
        image_size, resize, background, max_pixels, depth: as in `decode_image`.

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
            depth = depth if is_deep(image) else FULL_DEPTH
            image.load()
            return _render(image, image.size, image_size, resize, background, depth)
    except ImageError:
        raise
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


def _scale_colours(image: ImageFile, data: bytes, depth: int, truncated: str) -> None:
    """Decode once more, for the half of each value that Pillow leaves out."""
    stream = io.BytesIO(data)
    with open_image(data, stream) as low:
        bands = ask_for_low_bytes(low)
        load_pixels(low, stream, truncated)
        scale_colours(image, low, bands, depth)


def _render(
    image: Image.Image,
    size: tuple[float, float],
    image_size: int,
    resize: str,
    background: tuple[int, int, int],
    depth: int,
) -> np.ndarray:
    """Convert, shrink, resize, turn upright and pad a decoded image."""
    box, new_size = _fit(size, image_size, resize)
    left, top, right, bottom = box
    across = int((right - left) / new_size[0] / REDUCING_GAP) or 1
    down = int((bottom - top) / new_size[1] / REDUCING_GAP) or 1
    rgb = shrink_to_rgb(image, (across, down), background, depth)
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
