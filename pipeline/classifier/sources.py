"""Images in the forms that people have them in: files, bytes of files, Pillow's images, arrays."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile

from pipeline.errors import ParameterError
from pipeline.images.decoding.read_images import (
    Limits,
    read_decoded_image,
    read_image,
    read_image_bytes,
)
from pipeline.recipe import Recipe

# A digest, uint8 (32,), and pixels or the reason why there are none.
ReadPixels = Callable[[Recipe, Limits], tuple[np.ndarray, np.ndarray | str]]


@dataclass(frozen=True)
class Source:
    """An image that can be read.

    Args:
        name: for people: its path, or its place in the list.
        path: of its file; None where it came without one.
        read: its pixels as a recipe wants them.
    """

    name: str
    path: Path | None
    read: ReadPixels

    def __str__(self) -> str:
        return self.name


def list_images(images: Iterable[Any]) -> list[Any]:
    """The images as a list, all of a kind that can be read.

    Raises:
        ParameterError: one is not, or there is one image where a list was expected.
    """
    if isinstance(images, (str, bytes, Path, Image.Image)):
        raise ParameterError(
            f"Expected `images` to be a list. Received: one {type(images).__name__}. Put it in "
            "brackets: predict([image])",
            "images",
        )
    found = list(images)
    for place, image in enumerate(found):
        is_array = isinstance(image, np.ndarray)
        if not is_array and not isinstance(image, (str, bytes, Path, Image.Image)):
            received = type(image).__name__
        elif is_array and not (
            image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size
        ):
            received = f"an array of {image.dtype} {image.shape}"
        else:
            continue
        raise ParameterError(
            "Expected `images` to be paths, bytes of image files, Pillow images or RGB arrays, "
            f"uint8 (height, width, 3). Received: {received} at place {place}",
            "images",
        )
    return found


def make_source(image: Any, place: int) -> Source:
    """One of the images that `list_images` gives.

    An image that Pillow opened and that nobody touched yet is read from its file's bytes, so that
    it gives what the file gives.

    Args:
        place: in the list.
    """
    if isinstance(image, (str, Path)):
        path = Path(image)
        return Source(str(path), path, lambda *how: read_image(path, *how))
    data = image if isinstance(image, bytes) else _read_untouched(image)
    name = f"image {place}"
    if data is not None:
        return Source(name, None, lambda *how: read_image_bytes(data, *how))
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    return Source(name, None, lambda *how: _read_picture(picture, *how))


def name_image(digest: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """What an image is known by, uint8 (32,): its file's digest, or a hash of its pixels where it
    came without a file.
    """
    if digest.any():
        return digest
    found = hashlib.sha256(b"pixels " + np.ascontiguousarray(pixels).tobytes()).digest()
    return np.frombuffer(found, np.uint8)


def _read_untouched(image: Any) -> bytes | None:
    """The bytes of the file that an image is as Pillow opened it; None for any other image.

    Its pixels are not loaded, it stands at its first frame, and no draft of another size or mode
    was asked for.
    """
    if not isinstance(image, ImageFile.ImageFile) or not image.tile or _is_closed(image):
        return None
    if image.fp is None or image.tell() != 0 or image.decoderconfig:
        return None
    place = image.fp.tell()
    try:
        image.fp.seek(0)
        return image.fp.read()
    finally:
        image.fp.seek(place)


def _read_picture(
    image: Image.Image, recipe: Recipe, limits: Limits
) -> tuple[np.ndarray, np.ndarray | str]:
    digest, pixels = read_decoded_image(image, recipe, limits)
    if isinstance(pixels, str) and _is_closed(image):
        pixels = "cannot be read: the image was closed"
    return digest, pixels


def _is_closed(image: Image.Image) -> bool:
    """Whether its pixels are gone, or the file that they are still to be loaded from is closed."""
    if isinstance(image, ImageFile.ImageFile) and image.tile:
        return image.fp is None or image.fp.closed
    try:
        Image.Image.load(image)  # pixels that are there; it decodes none of a file
    except ValueError:
        return True
    return False
