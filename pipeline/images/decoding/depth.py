"""Pixels of 16 bits: whether a file has them, how many of the bits they use, and how to show them.

Cameras, microscopes and scanners of 10 to 14 bits store their values in 16, and nothing in the
file says so. With 65535 for white such pictures are nearly black.
"""

import sys
from typing import Any, cast

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from pipeline.errors import ImageError
from pipeline.images.decoding.jpeg2000_ends import read_precision
from pipeline.recipe import FULL_DEPTH

DEPTHS = (8, 10, 12, 14, FULL_DEPTH)  # bits, what there is
TOO_BRIGHT = "brighter than"  # begins the reason of an image that needs more bits

# By the order of the bytes: low ones first, high ones first, as this machine has them.
_OTHER_BYTE = {"L": "B", "B": "L", "N": "B" if sys.byteorder == "little" else "L"}
_GRAY_AND_ALPHA = "LA;16B"
# Pillow's names for colours of 16 bits that it decodes to 8, by leaving out every other byte.
_MODES = ("R", "RGB", "RGBX", "RGBA", "CMYK")  # the first one for a plane of its own
_COLOURS = {f"{mode};16{order}" for mode in _MODES for order in "LBN"}
_N_COLOURS = {"RGB": 3, "RGBA": 3, "CMYK": 4}


def white_of(depth: int) -> int:
    """The value that is shown as white."""
    return 2**depth - 1


def depth_of(greatest: int) -> int:
    """The least of DEPTHS that holds a value of 16 bits."""
    return next(depth for depth in DEPTHS if greatest <= white_of(depth))


def is_deep(image: Image.Image, data: bytes = b"") -> bool:
    """Whether pixels have 16 bits of which the file does not say how many are used.

    Where it does say so (a TIFF of 12 bits, PPM, JPEG 2000), that counts.

    Args:
        image: of a file it is asked before its pixels are loaded.
        data: the file's bytes.
    """
    raw_mode, *details = _list_decoder_arguments(image)
    if image.format == "PPM":
        is_full = raw_mode == "I;16B" or details == [white_of(FULL_DEPTH)]
        return image.mode == "I" and is_full
    if image.format == "JPEG2000":
        return image.mode.startswith("I;16") and read_precision(data) == FULL_DEPTH
    if image.mode.startswith("I"):
        return raw_mode != "I;12"
    return raw_mode in _COLOURS or raw_mode == _GRAY_AND_ALPHA


def find_greatest(image: Image.Image) -> int | None:
    """The greatest value of a deep image, alpha apart, or one that needs as many bits.

    None for pixels of 32 bits whose values are not such as 16 bits hold: their range is their own.
    """
    if image.mode.startswith("I"):
        least, greatest = find_extrema(image)
        is_usual = least >= 0 and 255 < greatest <= white_of(FULL_DEPTH)
        has_16_bits = image.mode != "I" or image.format == "PPM"
        return int(greatest) if has_16_bits or is_usual else None
    colours = [band for band in image.getbands() if band != "A"]
    # Pillow left the high bytes.
    return max(int(find_extrema(image.getchannel(band))[1]) for band in colours) << 8


def find_extrema(image: Image.Image) -> tuple[float, float]:
    """The least and the greatest value of an image of one band."""
    if image.mode == "I;16B":  # for which Pillow has no such function
        values = np.asarray(image)
        return int(values.min()), int(values.max())
    return cast("tuple[float, float]", image.getextrema())


def require_depth(greatest: float, depth: int) -> None:
    """Raises an ImageError for a value above white: to clip it would be a silent loss."""
    if greatest > white_of(depth):
        raise ImageError(
            f"{TOO_BRIGHT} {depth} bits: {greatest:,.0f} is more than {white_of(depth):,}, which "
            "is white in these features"
        )


def ask_for_low_bytes(image: ImageFile) -> tuple[int, ...]:
    """Makes a deep image in colour, whose pixels are not loaded yet, give the low bytes of its
    values where it would give the high ones.

    Returns:
        For each colour of the image the band that has its low bytes.
    """
    raw_mode, *_ = _list_decoder_arguments(image)
    image.tile = [tile._replace(args=_ask_otherwise(tile.args)) for tile in image.tile]
    return (1, 1, 1) if raw_mode == _GRAY_AND_ALPHA else tuple(range(_N_COLOURS[image.mode]))


def _ask_otherwise(arguments: Any) -> Any:
    """A decoder's arguments with the raw mode for the other byte of each value."""
    if isinstance(arguments, tuple):
        return (_ask_otherwise(arguments[0]), *arguments[1:])
    if arguments == _GRAY_AND_ALPHA:
        return "RGBA"
    return arguments[:-1] + _OTHER_BYTE[arguments[-1]]


def _list_decoder_arguments(image: Image.Image) -> tuple[Any, ...]:
    """How the decoder will read the pixels: Pillow's raw mode, and details; empty once it has."""
    tiles = image.tile if isinstance(image, ImageFile) else []
    arguments = tiles[0].args if tiles else None
    return arguments if isinstance(arguments, tuple) else (arguments or "",)
