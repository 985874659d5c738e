"""Changed copies of a picture, as people make them, by which an audit sets its limits."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

Change = Callable[[Image.Image], Image.Image]

_QUALITY = 40  # of a JPEG that was saved to be small
_LESS = 0.8  # of each side: what is left of a cropped picture
_BRIGHTER = 1.3


def _recompress(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_QUALITY)
    return Image.open(stream)


def _crop(image: Image.Image) -> Image.Image:
    """Off the centre, so that nothing stays where it was."""
    width, height = image.size
    left, top = round(0.05 * width), round((1 - _LESS - 0.05) * height)
    return image.crop((left, top, left + round(_LESS * width), top + round(_LESS * height)))


def _write_over(image: Image.Image) -> Image.Image:
    """A line of text across the middle, a fifth of the height."""
    copy = image.copy()
    height = image.height
    font = ImageFont.load_default(max(6, height // 5))
    ImageDraw.Draw(copy).text((0, 0.4 * height), "COPYRIGHT", "white", font)
    return copy


CHANGES: dict[str, Change] = {
    "recompressed": _recompress,
    "half size": lambda image: image.reduce(2),
    "cropped": _crop,
    "brighter": lambda image: image.point(lambda value: min(255, round(_BRIGHTER * value))),
    "mirrored": ImageOps.mirror,
    "written over": _write_over,
}


def make_copies(pixels: np.ndarray, *sides: int) -> list[dict[str, np.ndarray]]:
    """A copy by each change, at each of some sizes.

    Args:
        pixels: uint8 RGB `(height, width, 3)`, of more pixels than the copies have.
        sides: of the copies, in pixels.

    Returns:
        For each size uint8 RGB `(side, side, 3)` by name of the change.
    """
    image = Image.fromarray(pixels)
    changed = {name: change(image) for name, change in CHANGES.items()}
    return [
        {
            name: np.array(copy.resize((side, side), Image.Resampling.BILINEAR))
            for name, copy in changed.items()
        }
        for side in sides
    ]
