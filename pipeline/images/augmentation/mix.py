"""MixUp and CutMix: the images of a batch mixed with each other, and their targets alike.

mixup: https://arxiv.org/abs/1710.09412; CutMix: https://arxiv.org/abs/1905.04899. What is drawn is
what Keras's layers draw.
"""

import numpy as np

MIX_UP_ALPHA = 0.2
_LEAST_ALPHA = 1e-6

Batch = tuple[np.ndarray, np.ndarray]


def mix_up(images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> Batch:
    """Each image is blended with another.

    Args:
        images: float32 (n, height, width, channels).
        targets: float32 (n, n_classes).
    """
    n_images = len(images)
    others = rng.permutation(n_images)
    weights = rng.beta(MIX_UP_ALPHA, MIX_UP_ALPHA, n_images).astype(np.float32)
    return _blend(images, others, weights), _blend(targets, others, weights)


def cut_mix(images: np.ndarray, targets: np.ndarray, rng: np.random.Generator) -> Batch:
    """Each image gets a box of another, wherever it lies.

    Args:
        images: float32 (n, height, width, channels).
        targets: float32 (n, n_classes).
    """
    n_images, height, width, _ = images.shape
    alpha = rng.uniform() + _LEAST_ALPHA
    side = np.sqrt(1 - rng.beta(alpha, alpha, n_images))
    left, right = _draw_span(width, side, rng)
    top, bottom = _draw_span(height, side, rng)
    others = rng.permutation(n_images)
    mixed = images.copy()
    for number, other in enumerate(others):
        rows = slice(*_whole(top[number], bottom[number]))
        columns = slice(*_whole(left[number], right[number]))
        mixed[number, rows, columns] = images[other, rows, columns]
    weights = 1 - (right - left) * (bottom - top) / (width * height)
    return mixed, _blend(targets, others, weights.astype(np.float32))


def _blend(values: np.ndarray, others: np.ndarray, weights: np.ndarray) -> np.ndarray:
    shares = weights.reshape(-1, *[1] * (values.ndim - 1))
    return shares * values + (1 - shares) * values[others]


def _draw_span(
    length: int, shares: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Where boxes of some shares of a side begin and end."""
    lengths = shares * length
    starts = rng.uniform(size=len(shares)) * (length - lengths)
    return starts, starts + lengths


def _whole(start: float, stop: float) -> tuple[int, int]:
    """The pixels at whole numbers in [start, stop)."""
    return int(np.ceil(start)), int(np.ceil(stop))
