"""How alike two pictures are where one is laid over the other as well as it can be.

Whole, smaller, cropped or mirrored; brightness and contrast do not count. What is compared are
edges and shapes of middling size (a difference of two Gaussian blurs): coarse light and shade is
alike in many pictures, and the finest detail does not survive a copy.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np

SIDE = 64  # pixels
# Sides of the smaller picture, as shares of the larger one's; 0.63 is 40% of the area.
_SCALES = (1.0, 0.94, 0.88, 0.83, 0.78, 0.73, 0.68, 0.63)
_INNER = 0.9  # of the smaller picture: so it may be shifted, and its rim may be framed
_FINE, _COARSE = 0.8, 4.0  # pixels, of the blurs
_NOISE = 2.0  # of 255: what is fainter than this makes no picture
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


@dataclass(frozen=True)
class Picture:
    """A picture, ready to be compared.

    Args:
        spectrum: complex64 `(SIDE, SIDE // 2 + 1)`, of its shapes.
        energies: float64 `(SIDE + 1, SIDE + 1)`, sums of its shapes' squares above and left of each
            place.
        luma: float32 `(SIDE, SIDE)`.
    """

    spectrum: np.ndarray
    energies: np.ndarray
    luma: np.ndarray


def prepare(pixels: np.ndarray) -> Picture:
    """Makes a picture of RGB pixels 0..255, uint8 `(SIDE, SIDE, 3)`, whatever its proportions."""
    from scipy.fft import rfft2

    luma = pixels.astype(np.float32) @ _LUMA
    shapes = _find_shapes(luma)
    energies = np.zeros((SIDE + 1, SIDE + 1))
    energies[1:, 1:] = (shapes.astype(np.float64) ** 2).cumsum(axis=0).cumsum(axis=1)
    return Picture(rfft2(shapes), energies, luma)


def measure_likeness(one: Picture, other: Picture) -> float:
    """How alike two pictures are, -1..1: 1 where one is the other, whole or in part.

    The normalised cross-correlation (J. P. Lewis, "Fast normalized cross-correlation", 1995) at the
    best place, size and side, with each of the two as the part.
    """
    return max(_find_part(one, other), _find_part(other, one))


def _find_part(whole: Picture, part: Picture) -> float:
    """The greatest correlation of a picture's inner part with a place in the other."""
    from scipy.fft import irfft2, rfft2

    cut = [_cut_inner(part.luma, scale) for scale in range(len(_SCALES))]
    stack = np.zeros((2 * len(cut), SIDE, SIDE), np.float32)
    for number, shapes in enumerate(cut):
        side = len(shapes)
        stack[2 * number, :side, :side] = shapes
        stack[2 * number + 1, :side, :side] = shapes[:, ::-1]
    found = irfft2(whole.spectrum * rfft2(stack).conj(), s=(SIDE, SIDE))
    best = -1.0
    for number, shapes in enumerate(cut):
        side, n_places = len(shapes), SIDE - len(shapes) + 1
        table = whole.energies
        below = (
            table[side:, side:] - table[:n_places, side:] - table[side:, :n_places]
        ) + table[:n_places, :n_places]  # fmt: skip
        faint = side * side * _NOISE**2
        energy = float((shapes**2).sum()) + faint
        scaled = found[2 * number : 2 * number + 2, :n_places, :n_places] / np.sqrt(
            (np.maximum(below, 0) + faint) * energy
        )
        best = max(best, float(scaled.max()))
    return best


def _cut_inner(luma: np.ndarray, scale: int) -> np.ndarray:
    """The shapes of a picture's inner part at that scale, float32, square."""
    side = round(SIDE * _SCALES[scale])
    shrink = _resampling(side)
    shapes = _find_shapes(shrink @ luma @ shrink.T)
    rim = round(side * (1 - _INNER) / 2)
    return shapes[rim : side - rim, rim : side - rim]


def _find_shapes(luma: np.ndarray) -> np.ndarray:
    fine, coarse = _blurring(len(luma), _FINE), _blurring(len(luma), _COARSE)
    return fine @ luma @ fine.T - coarse @ luma @ coarse.T


@cache
def _blurring(side: int, width: float) -> np.ndarray:
    """The matrix that blurs a line of pixels, float32 `(side, side)`."""
    places = np.arange(side)
    weights = np.exp(-((places[:, None] - places) ** 2) / (2 * width**2))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


@cache
def _resampling(side: int) -> np.ndarray:
    """The matrix that shrinks a line of `SIDE` pixels, float32 `(side, SIDE)`: a triangle filter,
    as Pillow's bilinear with antialiasing.
    """
    scale = SIDE / side
    centres = (np.arange(side) + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs(np.arange(SIDE) + 0.5 - centres[:, None]) / scale)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
