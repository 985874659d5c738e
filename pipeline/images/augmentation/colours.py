"""Changes of colour: of each value by itself, of each pixel, and of a pixel and its neighbours.

The arithmetic is that of Keras's layers, on values 0..255. What is the same for all pixels of a
channel is laid out as a row of the image, since NumPy is slow at rows of three.
"""

from collections.abc import Callable

import numpy as np

# From pixels (height, width, 3), 0..255, uint8 or float32, to pixels of the same shape.
Change = Callable[[np.ndarray], np.ndarray]

_GREY = (0.2989, 0.5870, 0.1140)  # ITU-R BT.601
_EDGE, _CENTRE = 1 / 13, 5 / 13  # of the kernel that smooths


def brighten(summand: float) -> Change:
    return lambda pixels: _cut(pixels + np.float32(summand))


def stretch_contrast(factor: float) -> Change:
    """Moves values away from the mean of their channel."""

    def change(pixels: np.ndarray) -> np.ndarray:
        rows = _as_rows(pixels)
        mean = rows.mean(axis=0).reshape(-1, 3).mean(axis=0, dtype=np.float64)
        rows = rows * np.float32(factor)
        rows += _as_row(mean * (1 - factor), pixels)
        return _cut(rows).reshape(pixels.shape)

    return change


def solarize(summand: float, threshold: float) -> Change:
    """Brightens, and makes a negative of what is not below the threshold then."""

    def change(pixels: np.ndarray) -> np.ndarray:
        brighter = _cut(pixels + np.float32(summand))
        return np.where(brighter < threshold, brighter, 255 - brighter)

    return change


def posterize(n_bits: int) -> Change:
    """Keeps the highest bits."""
    shift = 8 - n_bits
    return lambda pixels: (pixels.astype(np.uint8) >> shift << shift).astype(np.float32)


def spread(pixels: np.ndarray) -> np.ndarray:
    """Each channel from black to white; one of a single value stays as it is."""
    rows = _as_rows(pixels)
    low = rows.min(axis=0).reshape(-1, 3).min(axis=0)
    high = rows.max(axis=0).reshape(-1, 3).max(axis=0)
    is_flat = high == low
    scale = np.where(is_flat, 1, 255 / np.where(is_flat, 1, high - low))
    rows = rows * _as_row(scale, pixels)
    rows += _as_row(np.where(is_flat, 0, -low * scale), pixels)
    return _cut(rows).reshape(pixels.shape)


def equalize(pixels: np.ndarray) -> np.ndarray:
    """Each channel so that its values are used alike; one of a single value stays as it is."""
    channels = [_equalize_channel(pixels[..., number]) for number in range(3)]
    return np.stack(channels, axis=-1)


def _equalize_channel(values: np.ndarray) -> np.ndarray:
    """float32 of values (height, width)."""
    whole = values.astype(np.uint8)
    counts = np.bincount(whole.ravel(), minlength=256)
    if np.count_nonzero(counts) == 1:
        return values.astype(np.float32)
    below = np.cumsum(counts)
    least = below[below > 0][0]
    table = np.clip(np.rint((below - least) * 255 / (below[-1] - least)), 0, 255)
    return table.astype(np.float32).take(whole)


def fade(share: float) -> Change:
    """Takes that share of the colour away.

    Value by value: the last bits of a product of matrices depend on the threads that compute it.
    """
    red, green, blue = np.array(_GREY, np.float32)

    def change(pixels: np.ndarray) -> np.ndarray:
        values = pixels.astype(np.float32)
        grey = values[..., 0] * red
        grey += values[..., 1] * green
        grey += values[..., 2] * blue
        values *= np.float32(1 - share)
        values += (grey * np.float32(share))[..., None]
        return _cut(values)

    return change


def blur(share: float) -> Change:
    """Mixes an image with itself smoothed, the latter having that share; outside it is black."""

    def change(pixels: np.ndarray) -> np.ndarray:
        framed = np.pad(pixels.astype(np.float32), ((1, 1), (1, 1), (0, 0)))
        of_three = framed[:-2] + framed[1:-1] + framed[2:]
        mixed = of_three[:, :-2] + of_three[:, 1:-1] + of_three[:, 2:]
        mixed *= np.float32(share * _EDGE)
        mixed += pixels * np.float32(1 - share + share * (_CENTRE - _EDGE))
        return _cut(mixed)

    return change


def _as_rows(pixels: np.ndarray) -> np.ndarray:
    """float32 (height, width * 3)."""
    return pixels.reshape(len(pixels), -1).astype(np.float32, copy=False)


def _as_row(of_channels: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """float32 (width * 3,) of three numbers."""
    return np.tile(of_channels.astype(np.float32), pixels.shape[1])


def _cut(pixels: np.ndarray) -> np.ndarray:
    """The pixels themselves, cut off at 0 and 255."""
    return np.clip(pixels, 0, 255, out=pixels)
