"""Finds JPEGs whose pixels end before the picture does, although an end marker follows.

The decoder takes the marker for the end, shows what is missing as plain gray, and says nothing.
"""

import io
import re

from PIL import Image, ImageChops

# What the decoder makes of no data: 128 in each component, 127 where the file's are inverted.
_NOTHING = {127, 128}
_BLOCK = 16  # pixels, at most
_MARKER = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]")  # no stuffed byte, and none to restart at
_OTHER_FRAMES = {*range(0xC3, 0xD0)} - {0xC4, 0xC8, 0xCC}
_WITHOUT_LENGTH = {0x01, 0xD8}
_END_OF_IMAGE = 0xD9
_FILLER = bytes(89 * number % 251 for number in range(1, 251))


def is_cut_short(image: Image.Image, data: bytes) -> bool:
    """Whether a decoded JPEG's last rows are not in the file.

    Looks at the last pixel first, which is all that a whole image costs. Where it is what the
    decoder makes of nothing (or the image has one block only), the image is decoded again, at an
    eighth of its size, with a few bytes more: those change a picture that lacks some, and no other.
    """
    corner = image.getpixel((image.width - 1, image.height - 1))
    is_nothing = set(corner if isinstance(corner, tuple) else (corner,)) <= _NOTHING
    if not is_nothing and max(image.size) > _BLOCK:
        return False
    end = _find_end(data)
    if end is None:
        return False
    plain = _decode_small(data)
    try:
        with_more = _decode_small(data[:end] + _FILLER + b"\xff\xd9")
    except OSError:  # damaged in another way, which the decoder has put up with
        return False
    return ImageChops.difference(plain, with_more).getbbox() is not None


def _find_end(data: bytes) -> int | None:
    """Where the end marker is; None where there is none, or no bytes may be added in front."""
    place = 0
    while marker := _MARKER.search(data, place):
        code, place = data[marker.end() - 1], marker.end()
        if code == _END_OF_IMAGE:
            return marker.start()
        if code in _OTHER_FRAMES:  # arithmetic coding may leave out bytes that are zero
            return None
        if code not in _WITHOUT_LENGTH:
            place += int.from_bytes(data[place : place + 2], "big")
    return None


def _decode_small(data: bytes) -> Image.Image:
    from PIL.JpegImagePlugin import JpegImageFile

    image = JpegImageFile(io.BytesIO(data), "")
    if max(image.size) > _BLOCK:
        image.draft(None, (image.width // 8, image.height // 8))
    image.load()
    return image
