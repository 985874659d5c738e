"""Decodes the pixels of an opened file, and finds out whether some are missing."""

import io

from PIL import Image
from PIL.ImageFile import ImageFile

from pipeline.errors import ImageError
from pipeline.images.decoding import jpeg2000_ends, jpeg_ends
from pipeline.images.decoding.jpeg_scans import holds_whole_picture


def load_pixels(image: ImageFile, stream: io.BytesIO, truncated: str) -> None:
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
