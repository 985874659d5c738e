"""How an image looks, in a few numbers: size, brightness, sharpness, what of 16 bits it uses.

Brightness and sharpness are those of the picture as the network sees it, small and square.
"""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import ImageError
from pipeline.images.decoding.decode import decode_image, find_greatest_value
from pipeline.images.decoding.formats import open_image
from pipeline.recipe import Recipe
from pipeline.system.paths import open_regular_file

_MOST_PIXELS = 224  # a side; what is blurred at this size is so to any network here
_BLUR_WINDOW = 11  # pixels, as in the source
_PARTS = 4  # a side
_LUMA = np.array([77, 150, 29], np.uint16)  # ITU-R BT.601, times 256


@dataclass(frozen=True)
class Look:
    """What an image looks like.

    Args:
        width, height: pixels, as they are stored.
        darkest, brightest: of its brightness, 0..1, the values that 5% and 99% of the picture are
            not above.
        contrast: standard deviation of the values of all three colours over the picture, 0..255.
        blur: 0 sharp .. 1 blurred.
        greatest: value of its pixels of 16 bits, 0..65535; None for other images.
    """

    width: int
    height: int
    darkest: float
    brightest: float
    contrast: float
    blur: float
    greatest: int | None = None


def look_at_file(path: Path, recipe: Recipe, digest: bytes) -> Look | str:
    """Looks at a file, or says why it cannot.

    Args:
        digest: sha256 that the file is to have; another file is not looked at.
    """
    try:
        with open_regular_file(path) as file:
            data = file.read()
        if hashlib.sha256(data).digest() != digest:
            return "was changed since its features were extracted"
        return look_at(data, recipe)
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def look_at(data: bytes, recipe: Recipe) -> Look:
    """Looks at the bytes of an image file.

    Raises:
        ImageError: there is no picture in them.
    """
    with open_image(data, io.BytesIO(data)) as image:
        width, height = image.size
    pixels = decode_image(
        data,
        min(recipe.image_size, _MOST_PIXELS),
        background=recipe.background,
        truncated=recipe.truncated,
        depth=recipe.depth,
    )
    luma = (pixels.astype(np.uint16) @ _LUMA) >> 8
    up_to = np.bincount(luma.ravel(), minlength=256).cumsum() / luma.size
    darkest, brightest = np.searchsorted(up_to, [0.05, 0.99]) / 255
    return Look(
        width,
        height,
        float(darkest),
        float(brightest),
        float(max(pixels[..., band].std(dtype=np.float32) for band in range(3))),
        measure_blur(luma.astype(np.float32)),
        find_greatest_value(data, truncated=recipe.truncated),
    )


def measure_blur(luma: np.ndarray) -> float:
    """How little a picture changes where it is blurred once more: 0 sharp .. 1 blurred.

    That of the sharpest of its parts in which there is anything to see: behind what a photo shows
    most things are blurred, and are meant to be.

    Args:
        luma: float32 `(height, width)`, 0..255.

    Source: F. Crete et al., "The blur effect: perception and estimation with a new no-reference
    perceptual blur metric", SPIE 6492 (2007), of each part.
    """
    from scipy.ndimage import uniform_filter1d

    shares = []
    for axis in (0, 1):
        blurred = uniform_filter1d(luma, _BLUR_WINDOW, axis=axis, mode="reflect")
        steps = np.abs(np.diff(luma, axis=axis))
        lost = np.maximum(0, steps - np.abs(np.diff(blurred, axis=axis)))
        shares.append((_sum_parts(steps), _sum_parts(lost)))
    steps_of_parts = shares[0][0] + shares[1][0]
    if not np.any(steps_of_parts):
        return 1.0
    has_something = steps_of_parts >= steps_of_parts.mean()
    blurs = [1 - lost / np.maximum(steps, 1e-6) for steps, lost in shares]
    return float(np.maximum(*blurs)[has_something].min())


def _sum_parts(values: np.ndarray) -> np.ndarray:
    """Sums over the parts of a picture, `(_PARTS, _PARTS)` or fewer."""
    for axis in (0, 1):
        n = values.shape[axis]
        starts = np.unique(np.arange(_PARTS) * n // _PARTS)
        values = np.add.reduceat(values, starts, axis=axis)
    return values
