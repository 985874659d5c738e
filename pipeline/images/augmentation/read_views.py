"""Makes views of decoded images, and reads image files as their views."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.images.augmentation.augment import Augmentation, number_images
from pipeline.images.augmentation.views import Views
from pipeline.images.decoding.read_images import Limits, read_image
from pipeline.recipe import Recipe


def make_views(
    pixels: np.ndarray, digest: np.ndarray, views: Views, numbers: Sequence[int]
) -> np.ndarray:
    """Some views of an image, uint8 (n_views, height, width, 3), in the order of their numbers.

    Equal arguments give equal bits, whatever else is computed, by how many threads and where.

    Args:
        pixels: uint8 RGB (height, width, 3), decoded as the recipe wants them.
        digest: of the image, uint8 (32,).
        views: how they are made.
        numbers: of the views.
    """
    augment = Augmentation(views.augment, flip=False, seed=views.seed)
    ids = number_images(digest[None])

    def make(number: int) -> np.ndarray:
        if number == 0:
            return pixels
        shown: np.ndarray = np.rint(augment(pixels[None], ids, number)[0]).astype(np.uint8)
        return shown

    return np.stack([make(number) for number in numbers])


@dataclass(frozen=True)
class ReadViews:
    """Reads an image as some of its views, in the place of `read_image`.

    Args:
        views: how they are made.
        numbers: of the views that are wanted.
    """

    views: Views
    numbers: tuple[int, ...]

    def __call__(
        self, path: Path, recipe: Recipe, limits: Limits
    ) -> tuple[np.ndarray, np.ndarray | str]:
        """A file's digest, and uint8 (n_views, height, width, 3) or the reason for none."""
        digest, pixels = read_image(path, recipe, limits)
        if isinstance(pixels, str):
            return digest, pixels
        return digest, make_views(pixels, digest, self.views, self.numbers)

    def shape(self, recipe: Recipe) -> tuple[int, ...]:
        """Of what it gives."""
        return len(self.numbers), recipe.image_size, recipe.image_size, 3
