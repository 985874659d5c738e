"""What an image file is, apart from what it shows: its size, how it was saved, by which camera.

And two facts of its pixels that cameras, scanners and programs leave: mean colour and border.
"""

import functools
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.errors import ImageError
from pipeline.images.decoding.decode import decode_image
from pipeline.images.decoding.formats import describe_damage, name_format, open_image
from pipeline.images.decoding.read_images import Limits, hash_image_file
from pipeline.recipe import Recipe
from pipeline.system.paths import open_regular_file

_SIDE = 32  # pixels, of what colours are taken from
_MAKE, _MODEL, _SOFTWARE, _DATE = 0x010F, 0x0110, 0x0131, 0x0132  # EXIF
_LONGEST = 60  # characters


@dataclass(frozen=True)
class FileFacts:
    """Facts of an image file.

    Args:
        width, height: pixels, as they are stored.
        n_bytes: of the file.
        format: such as `JPEG`, and how its pixels are kept, such as `RGB`.
        compression: how much was lost, such as `JPEG quality 60`; empty where it is not told.
        camera: its make and model; empty where the file does not say.
        software: that wrote the file, likewise.
        date: when it was taken or written, `2019:07`; likewise.
        colour: mean red, green and blue, 0..255.
        border: mean brightness of the outermost 3%, 0..255.
        border_contrast: standard deviation there, 0..255.
    """

    width: int
    height: int
    n_bytes: int
    format: str
    compression: str
    camera: str
    software: str
    date: str
    colour: tuple[float, float, float]
    border: float
    border_contrast: float


def read_file_facts(
    path: Path, recipe: Recipe, digest: np.ndarray, limits: Limits
) -> FileFacts | None:
    """The facts of a file; None where it cannot be read, or is another than it was.

    Args:
        digest: sha256 that it is to have, uint8 `(32,)`.
    """
    found, reason = hash_image_file(path, limits)
    if reason is not None or not np.array_equal(found, digest):
        return None
    try:
        with open_regular_file(path) as file:
            return find_facts(file.read(), recipe)
    except (ImageError, OSError):
        return None


def find_facts(data: bytes, recipe: Recipe) -> FileFacts:
    """The facts of the bytes of an image file.

    Raises:
        ImageError: there is no picture in them.
    """
    pixels = decode_image(
        data, _SIDE, background=recipe.background, truncated=recipe.truncated, depth=recipe.depth
    ).astype(np.float64)
    ring = np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]]).mean(axis=1)
    red, green, blue = pixels.mean(axis=(0, 1)).tolist()
    with open_image(data, io.BytesIO(data)) as image:
        try:
            exif = image.getexif()
            said = {tag: _clean(exif.get(tag)) for tag in (_MAKE, _MODEL, _SOFTWARE, _DATE)}
        except Exception:  # a broken EXIF block says nothing, and spoils nothing
            said = {}
        try:
            return FileFacts(
                width=image.width,
                height=image.height,
                n_bytes=len(data),
                format=f"{name_format(image.format)} {image.mode}",
                compression=_describe_compression(image),
                camera=" ".join(filter(None, [said.get(_MAKE, ""), said.get(_MODEL, "")])),
                software=said.get(_SOFTWARE, ""),
                date=said.get(_DATE, "")[:7],
                colour=(red, green, blue),
                border=float(ring.mean()),
                border_contrast=float(ring.std()),
            )
        except Exception as error:  # damaged files make Pillow raise nearly anything
            raise ImageError(describe_damage(image.format, error)) from error


def _clean(value: object) -> str:
    return str(value).strip("\0 ")[:_LONGEST] if isinstance(value, str) else ""


def _describe_compression(image: Image.Image) -> str:
    tables = getattr(image, "quantization", None)
    if not isinstance(tables, dict) or not tables:
        return ""
    key = _key(tables)
    quality = _list_qualities().get(key)
    if quality is not None:
        return f"JPEG quality {quality}"
    return f"JPEG tables that sum to {sum(map(sum, key))}"


def _key(tables: dict[int, list[int]]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(tables[number]) for number in sorted(tables))


@functools.cache
def _list_qualities() -> dict[tuple[tuple[int, ...], ...], int]:
    """The quality of each pair of tables, and of those for gray, that libjpeg makes."""
    found = {}
    for mode in ("L", "RGB"):
        for quality in range(1, 101):
            stream = io.BytesIO()
            Image.new(mode, (8, 8)).save(stream, "JPEG", quality=quality)
            with Image.open(stream) as image:
                found[_key(getattr(image, "quantization"))] = quality  # noqa: B009
    return found
