"""Moves: where each pixel of an augmented image comes from.

The geometry and the borders are those of Keras's layers. A shift, a zoom and a turn are one
interpolation, not three in a row.
"""

from collections.abc import Callable

import numpy as np
from PIL import Image

from pipeline.images.augmentation.colours import Change

# From (x, y, 1) in the new image to (x, y, 1) in the old one, pixels being at whole numbers.
Matrix = np.ndarray

# From places along a side, also before and behind it, and how long it is, to places on it.
FindPlaces = Callable[[np.ndarray, int], np.ndarray]

_HALF = 0.5  # Pillow's pixels have their centres there


def shift(right: float, down: float) -> Matrix:
    """Moves what is seen, in pixels."""
    return np.array([[1, 0, -right], [0, 1, -down], [0, 0, 1.0]])


def zoom(factor: float, width: int, height: int) -> Matrix:
    """Shows `factor` of the sides, around the centre: above 1 things get smaller."""
    x, y = (width - 1) / 2 * (1 - factor), (height - 1) / 2 * (1 - factor)
    return np.array([[factor, 0, x], [0, factor, y], [0, 0, 1.0]])


def turn(degrees: float, width: int, height: int) -> Matrix:
    """Turns around the centre, left where it is positive."""
    x, y = (width - 1) / 2, (height - 1) / 2
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array(
        [[cos, -sin, x - x * cos + y * sin], [sin, cos, y - x * sin - y * cos], [0, 0, 1]]
    )


def shear(x: float, y: float) -> Matrix:
    """Slants rows by `x` and columns by `y`, from the upper left corner on."""
    return np.array([[1, x, 0], [y, 1, 0], [0, 0, 1.0]])


def move_mirroring(matrix: Matrix) -> Change:
    """A move behind whose edges the image goes on mirrored."""
    return lambda pixels: _sample(pixels, matrix, (0, 0, pixels.shape[1], pixels.shape[0]), _mirror)


def shift_zoom_turn(right: float, down: float, factor: float, degrees: float) -> Change:
    """These three moves in this order, each of which repeats its edge behind it.

    Args:
        right, down: in pixels.
        factor: of the zoom.
        degrees: of the turn.
    """

    def change(pixels: np.ndarray) -> np.ndarray:
        height, width, _ = pixels.shape
        zoomed = zoom(factor, width, height)
        matrix = shift(right, down) @ zoomed @ turn(degrees, width, height)
        # What lies outside of what a step shows is its edge for the next one.
        left, past_right = _see(zoomed[0, 2], right, factor, width)
        top, past_bottom = _see(zoomed[1, 2], down, factor, height)
        return _sample(pixels, matrix, (left, top, past_right, past_bottom), _stay)

    return change


def _see(start: float, shifted: float, factor: float, side: int) -> tuple[int, int]:
    """From which row or column up to which one an image is seen once it is shifted and zoomed.

    Args:
        start: the first one that the zoom shows of the shifted image.
    """
    last = side - 1
    shown = np.clip([start, start + factor * last], 0, last)
    first, final = np.rint(np.clip(shown - shifted, 0, last)).astype(int)
    return int(first), int(final) + 1


def _sample(
    pixels: np.ndarray, matrix: Matrix, box: tuple[int, int, int, int], find: FindPlaces
) -> np.ndarray:
    """The new image, uint8, interpolated bilinearly.

    Args:
        box: that is used of the old one: left, top, and past right and bottom.
        find: what stands for what lies outside of it.
    """
    height, width, _ = pixels.shape
    left, top, past_right, past_bottom = box
    corners = np.array([[0, width - 1, 0, width - 1], [0, 0, height - 1, height - 1], [1, 1, 1, 1]])
    points = matrix[:2] @ corners
    (first_x, first_y), (last_x, last_y) = points.min(axis=1), points.max(axis=1)
    before_x, before_y = _count(left - first_x), _count(top - first_y)
    after_x, after_y = _count(last_x - past_right + 1), _count(last_y - past_bottom + 1)
    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels).astype(np.uint8)
    framed = _frame(
        pixels[top:past_bottom, left:past_right], (before_y, after_y), (before_x, after_x), find
    )
    (a, b, c), (d, e, f) = matrix[:2]
    numbers = (
        *(a, b, c - left + before_x + _HALF - _HALF * (a + b)),
        *(d, e, f - top + before_y + _HALF - _HALF * (d + e)),
    )
    moved = Image.fromarray(framed).transform(
        (width, height), Image.Transform.AFFINE, numbers, resample=Image.Resampling.BILINEAR
    )
    return np.asarray(moved)


def _frame(
    pixels: np.ndarray, more_rows: tuple[int, int], more_columns: tuple[int, int], find: FindPlaces
) -> np.ndarray:
    """The pixels, and around them so many rows and columns before and behind.

    `numpy.pad` does the same in twice the time.
    """
    height, width, _ = pixels.shape
    before, behind = more_rows
    taller = pixels.take(find(np.arange(-before, height + behind), height), axis=0)
    before, behind = more_columns
    left = taller.take(find(np.arange(-before, 0), width), axis=1)
    right = taller.take(find(np.arange(width, width + behind), width), axis=1)
    return np.concatenate([left, taller, right], axis=1)


def _stay(places: np.ndarray, side: int) -> np.ndarray:
    """0 0 | 0 1 ... n | n n"""
    return np.clip(places, 0, side - 1)


def _mirror(places: np.ndarray, side: int) -> np.ndarray:
    """1 0 | 0 1 ... n | n n-1"""
    there = places % (2 * side)
    return np.minimum(there, 2 * side - 1 - there)


def _count(pixels: float) -> int:
    """Whole pixels that reach so far, and one more, which rounding may need."""
    return max(0, int(np.ceil(pixels)) + 1)
