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
    """A picture, ready to be compared, as a whole and as a part of another.

    Args:
        spectrum: complex64 `(SIDE, SIDE // 2 + 1)`, of its shapes.
        energies: float64 `(SIDE + 1, SIDE + 1)`, sums of its shapes' squares above and left of each
            place.
        parts: complex64 `(n_scales, 2, SIDE, SIDE // 2 + 1)`, conjugate spectra of its inner part
            at each scale, as it is and mirrored.
        part_energies: float64 `(n_scales,)`, sums of the squares of these parts' shapes.
    """

    spectrum: np.ndarray
    energies: np.ndarray
    parts: np.ndarray
    part_energies: np.ndarray


def prepare(pixels: np.ndarray) -> Picture:
    """Makes a picture of RGB pixels 0..255, uint8 `(SIDE, SIDE, 3)`, whatever its proportions."""
    from scipy.fft import rfft2

    luma = pixels.astype(np.float32) @ _LUMA
    shapes = _find_shapes(luma, 1.0)
    energies = np.zeros((SIDE + 1, SIDE + 1))
    energies[1:, 1:] = (shapes.astype(np.float64) ** 2).cumsum(axis=0).cumsum(axis=1)
    parts = np.zeros((len(_SCALES), 2, SIDE, SIDE), np.float32)
    for number, scale in enumerate(_SCALES):
        part = _find_shapes(luma, scale, _INNER)
        side = len(part)
        parts[number, 0, :side, :side] = part
        parts[number, 1, :side, :side] = part[:, ::-1]
    return Picture(
        rfft2(shapes),
        energies,
        rfft2(parts).conj(),
        (parts[:, 0].astype(np.float64) ** 2).sum(axis=(1, 2)),
    )


def measure_likeness(one: Picture, other: Picture) -> float:
    """How alike two pictures are, -1..1: 1 where one is the other, whole or in part.

    The normalised cross-correlation (J. P. Lewis, "Fast normalized cross-correlation", 1995) at the
    best place, size and side, with each of the two as the part.
    """
    return max(_find_part(one, other), _find_part(other, one))


def _find_part(whole: Picture, part: Picture) -> float:
    """The greatest correlation of a picture's inner part with a place in the other."""
    from scipy.fft import irfft2

    found = irfft2(whole.spectrum * part.parts, s=(SIDE, SIDE))
    best = -1.0
    for scale, at_scale, energy in zip(_SCALES, found, part.part_energies.tolist(), strict=True):
        side = _inner_side(scale, _INNER)
        n_places = SIDE - side + 1
        table = whole.energies
        below = (
            table[side:, side:] - table[:n_places, side:] - table[side:, :n_places]
        ) + table[:n_places, :n_places]  # fmt: skip
        faint = side * side * _NOISE**2
        scaled = at_scale[:, :n_places, :n_places] / np.sqrt(
            (np.maximum(below, 0) + faint) * (energy + faint)
        )
        best = max(best, float(scaled.max()))
    return best


def _find_shapes(luma: np.ndarray, scale: float, inner: float = 1.0) -> np.ndarray:
    """The shapes of a picture's inner part at a scale, float32, square."""
    fine, coarse = _shaping(scale, inner, _FINE), _shaping(scale, inner, _COARSE)
    shapes: np.ndarray = fine @ luma @ fine.T - coarse @ luma @ coarse.T
    return shapes


@cache
def _shaping(scale: float, inner: float, width: float) -> np.ndarray:
    """The matrix that shrinks a line of pixels, blurs it and cuts its inner part out, float32
    `(side of the part, SIDE)`.
    """
    side = round(SIDE * scale)
    rim = (side - _inner_side(scale, inner)) // 2
    return (_blurring(side, width) @ _resampling(side))[rim : side - rim].astype(np.float32)


def _inner_side(scale: float, inner: float) -> int:
    """Pixels."""
    side = round(SIDE * scale)
    return side - 2 * round(side * (1 - inner) / 2)


def _blurring(side: int, width: float) -> np.ndarray:
    """The matrix that blurs a line of pixels, `(side, side)`."""
    places = np.arange(side)
    weights = np.exp(-((places[:, None] - places) ** 2) / (2 * width**2))
    blurring: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return blurring


def _resampling(side: int) -> np.ndarray:
    """The matrix that shrinks a line of `SIDE` pixels, `(side, SIDE)`: a triangle filter,
    as Pillow's bilinear with antialiasing.
    """
    scale = SIDE / side
    centres = (np.arange(side) + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs(np.arange(SIDE) + 0.5 - centres[:, None]) / scale)
    resampling: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return resampling
