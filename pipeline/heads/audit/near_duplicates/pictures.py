"""The pictures of a feature file, small, as they are compared with each other."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.errors import ImageError
from pipeline.features.feature_file import Contents
from pipeline.images.decoding.formats import open_image
from pipeline.images.decoding.read_images import read_image
from pipeline.images.same_picture.alignment import SIDE, Picture, prepare
from pipeline.recipe import Recipe
from pipeline.system.parallel import count_cores, map_batches


def read_pixels(contents: Contents, root: Path, row: int, side: int) -> np.ndarray | None:
    """An image as the recipe sees it, at another size; None where it cannot be read or was changed.

    Args:
        root: folder that the paths are relative to.
        side: pixels.

    Returns:
        uint8 RGB `(side, side, 3)`.
    """
    recipe: Recipe = replace(contents.recipe, image_size=side)
    digest, pixels = read_image(root / contents.images.paths[row], recipe)
    is_the_one = np.array_equal(digest, contents.images.digests[row])
    return pixels if is_the_one and not isinstance(pixels, str) else None


def read_original(contents: Contents, root: Path, row: int) -> np.ndarray | None:
    """An image with about as many pixels as it has, but no more than twice what the network sees.

    Returns:
        uint8 RGB `(side, side, 3)`; None where it cannot be read or was changed.
    """
    try:
        data = (root / contents.images.paths[row]).read_bytes()
        with open_image(data, io.BytesIO(data)) as image:
            side = round((image.width * image.height) ** 0.5)
    except (ImageError, OSError):
        return None
    return read_pixels(contents, root, row, min(max(side, 2), 2 * contents.recipe.image_size))


def read_pictures(
    contents: Contents, root: Path, rows: Sequence[int]
) -> Iterator[tuple[int, Picture]]:
    """The pictures that can be read, with their row numbers."""

    def read(row: int) -> Picture | None:
        pixels = read_pixels(contents, root, row, SIDE)
        return None if pixels is None else prepare(pixels)

    for row, picture in zip(rows, map_batches(read, rows, count_cores()), strict=True):
        if picture is not None:
            yield row, picture
