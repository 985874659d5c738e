"""Tells whether a JPEG that could be decoded was cut short.

The decoder shows what is missing as plain gray, and says nothing.
"""

import io

from PIL import Image, ImageChops

from pipeline.images.decoding.jpeg_scans import holds_whole_picture
from pipeline.images.decoding.jpeg_segments import END_OF_IMAGE, OTHER_FRAMES, list_segments

END_MARKER = b"\xff\xd9"
# What the decoder makes of no data: 128 in each component, 127 where the file's are inverted.
_NOTHING = {127, 128}
_BLOCK = 16  # pixels, at most
_FILLER = bytes(89 * number % 251 for number in range(1, 251))


def is_cut_short(image: Image.Image, data: bytes) -> bool:
    """Whether a part of a decoded JPEG's picture is not in the file.

    Without an end marker it is known to the bit. With one, the last rows are looked for: the last
    pixel first, which is all that a whole image costs. Where it is what the decoder makes of
    nothing (or the image has one block only), the image is decoded again, at an eighth of its
    size, with a few bytes more: those change a picture that lacks some, and no other.
    """
    if not data.endswith(END_MARKER) and _find_end(data) is None:
        return not holds_whole_picture(data)
    corner = image.getpixel((image.width - 1, image.height - 1))
    is_nothing = set(corner if isinstance(corner, tuple) else (corner,)) <= _NOTHING
    if not is_nothing and max(image.size) > _BLOCK:
        return False
    end = _find_end(data)
    if end is None or _is_arithmetic(data):
        return False
    plain = _decode_small(data)
    try:
        with_more = _decode_small(data[:end] + _FILLER + END_MARKER)
    except OSError:  # damaged in another way, which the decoder has put up with
        return False
    return ImageChops.difference(plain, with_more).getbbox() is not None


def _find_end(data: bytes) -> int | None:
    """Where the end marker is; None where there is none."""
    return next((part.start for part in list_segments(data) if part.code == END_OF_IMAGE), None)


def _is_arithmetic(data: bytes) -> bool:
    """Whether bytes that are zero may be left out at the end by right."""
    return any(part.code in OTHER_FRAMES for part in list_segments(data))


def _decode_small(data: bytes) -> Image.Image:
    from PIL.JpegImagePlugin import JpegImageFile

    image = JpegImageFile(io.BytesIO(data), "")
    if max(image.size) > _BLOCK:
        image.draft(None, (image.width // 8, image.height // 8))
    image.load()
    return image
