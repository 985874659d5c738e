"""The images behind tests/reference: made from a seed, with integers only, so alike everywhere."""

import numpy as np

SIZE = 224


def make_reference_images(n_images: int = 4, seed: int = 0) -> np.ndarray:
    """Makes pictures of no thing, uint8 (n_images, 224, 224, 3): a gradient, blobs, noise."""
    rng = np.random.default_rng(seed)
    return np.stack([_make_image(rng) for _ in range(n_images)])


def _make_image(rng: np.random.Generator) -> np.ndarray:
    rows, columns = np.arange(SIZE)[:, None, None], np.arange(SIZE)[None, :, None]
    top_left, top_right, bottom_left, bottom_right = rng.integers(0, 256, (4, 3))
    top = top_left * (SIZE - columns) + top_right * columns
    bottom = bottom_left * (SIZE - columns) + bottom_right * columns
    pixels = (top * (SIZE - rows) + bottom * rows) // SIZE**2
    for _ in range(12):
        row, column = rng.integers(0, SIZE, 2)
        radius = rng.integers(10, 70)
        colour = rng.integers(0, 256, 3)
        square = radius**2
        # Full colour at the centre, none at the radius.
        share = np.maximum(square - (rows - row) ** 2 - (columns - column) ** 2, 0)
        pixels = (pixels * (square - share) + colour * share) // square
    noise = rng.integers(-12, 13, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def pad_reference_images(images: np.ndarray, side: int) -> np.ndarray:
    """Mirrors rows and columns at the lower and right edges until `side` is reached."""
    missing = side - SIZE
    return np.pad(images, ((0, 0), (0, missing), (0, missing), (0, 0)), mode="reflect")
