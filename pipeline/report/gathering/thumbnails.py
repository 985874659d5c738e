"""Thumbnails of images in sprite sheets, as good as a number of bytes allows.

They show what the backbone saw: decoded by the only decoder, resized as the recipe says. Images
that people look at come first and large, those that are points on a map small.
"""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from PIL import Image

from pipeline.images.decoding.read_images import NO_LIMITS, read_image
from pipeline.recipe import Recipe
from pipeline.report.contents import Sheet
from pipeline.report.gathering.image_pool import ImageFile
from pipeline.system.parallel import count_cores, map_batches
from pipeline.system.progress import OnProgress

LARGE_TILES = (128, 96, 80, 64)  # pixels, the best first
SMALL_TILES = (64, 48, 32, 24, 16)
MOST_LARGE = 3000
SHARE_OF_LARGE = 0.7  # of the bytes, where there are small ones, too
_SHEET_SIDE = 1536  # pixels: a browser holds a whole sheet in memory, 9 MB
_QUALITY = {128: 70, 96: 68, 80: 66, 64: 64, 48: 60, 32: 56, 24: 54, 16: 52}
_SAMPLE = 160  # thumbnails that tell how many bytes one takes
_URL = "data:image/webp;base64,"


@dataclass(frozen=True)
class Thumbnails:
    """The sheets, and where in them each image is.

    Args:
        sheets: of thumbnails.
        places: by number of the image, (sheet, number in it).
        gone: numbers of images that are not where they were, or cannot be read.
        changed: numbers of images whose bytes are others than those that the run was made of.
        n_without: images that had no room.
    """

    sheets: list[Sheet] = field(default_factory=list)
    places: dict[int, tuple[int, int]] = field(default_factory=dict)
    gone: list[int] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)
    n_without: int = 0


def make_thumbnails(
    files: Sequence[ImageFile],
    large: Sequence[int],
    small: Sequence[int],
    recipe: Recipe,
    n_bytes: int,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Thumbnails:
    """Makes them.

    Args:
        files: of the images, by number.
        large: numbers of images to be looked at, the most important first.
        small: of others, the most important first.
        recipe: says how images become square.
        n_bytes: that all sheets together may take, as text.
        on_progress: called with a stage, the number done and the number to do.
    """
    first = list(dict.fromkeys(large))
    rest = list(dict.fromkeys([*first[MOST_LARGE:], *small]))
    first = first[:MOST_LARGE]
    rest = [number for number in rest if number not in set(first)]
    made = Thumbnails()
    n_all = len(first) + len(rest)

    def read(numbers: list[int], tile: int, n_before: int) -> dict[int, np.ndarray]:
        found = {}
        for done, (number, pixels) in enumerate(_read(files, numbers, recipe, tile, made), 1):
            if pixels is not None:
                found[number] = pixels
            on_progress("Thumbnails", n_before + done, n_all)
        return found

    share = SHARE_OF_LARGE if rest else 1.0
    left_over = _add(made, read(first, LARGE_TILES[0], 0), LARGE_TILES, n_bytes * share)
    n_left = n_bytes - sum(len(sheet.url) for sheet in made.sheets)
    pixels = left_over | read(rest, SMALL_TILES[0], len(first))
    return replace(made, n_without=len(_add(made, pixels, SMALL_TILES, n_left)))


def _read(
    files: Sequence[ImageFile], numbers: list[int], recipe: Recipe, tile: int, made: Thumbnails
) -> Iterator[tuple[int, np.ndarray | None]]:
    """Numbers and pixels of images; those that are gone or changed are entered as such."""
    wanted = replace(recipe, image_size=tile)

    def read(number: int) -> tuple[bytes, np.ndarray | str]:
        digest, pixels = read_image(files[number].path, wanted, NO_LIMITS)
        return digest.tobytes(), pixels

    for number, (digest, pixels) in zip(
        numbers, map_batches(read, numbers, count_cores()), strict=True
    ):
        known = files[number].digest
        if isinstance(pixels, str):
            made.gone.append(number)
            yield number, None
        elif known is not None and digest != known:
            made.changed.append(number)
            yield number, None
        else:
            yield number, pixels


def _add(
    made: Thumbnails, pixels: dict[int, np.ndarray], tiles: Sequence[int], n_bytes: float
) -> dict[int, np.ndarray]:
    """Adds sheets of as many thumbnails as there are bytes for, in the largest size that all fit.

    Returns:
        Those that have no room.
    """
    numbers = list(pixels)
    if not numbers:
        return {}
    sample = [pixels[numbers[place]] for place in _evenly(len(numbers), _SAMPLE)]
    for tile in tiles:
        of_one = len(_encode(sample, tile).url) / len(sample)
        if of_one * len(numbers) <= n_bytes:
            break
    n_fitting = min(len(numbers), int(n_bytes / of_one))
    per_sheet = (_SHEET_SIDE // tile) ** 2
    for start in range(0, n_fitting, per_sheet):
        some = numbers[start : min(start + per_sheet, n_fitting)]
        sheet = _encode([pixels[number] for number in some], tile)
        n_bytes -= len(sheet.url)
        if n_bytes < 0:  # the sample was of simpler images
            n_fitting = start
            break
        made.places.update({one: (len(made.sheets), place) for place, one in enumerate(some)})
        made.sheets.append(sheet)
    return {number: pixels[number] for number in numbers[n_fitting:]}


def _evenly(number: int, most: int) -> list[int]:
    return np.unique(np.linspace(0, number - 1, min(number, most)).astype(int)).tolist()


def _encode(pixels: Sequence[np.ndarray], tile: int) -> Sheet:
    """Thumbnails side by side, from the top left."""
    columns = min(len(pixels), _SHEET_SIDE // tile)
    n_rows = -(-len(pixels) // columns)
    canvas = Image.new("RGB", (columns * tile, n_rows * tile), (128, 128, 128))
    for number, one in enumerate(pixels):
        image = Image.fromarray(one)
        if image.size != (tile, tile):
            image = image.resize((tile, tile), Image.Resampling.BOX, reducing_gap=2.0)
        canvas.paste(image, (number % columns * tile, number // columns * tile))
    buffer = io.BytesIO()
    canvas.save(buffer, format="WEBP", quality=_QUALITY[tile], method=4)
    return Sheet(_URL + base64.b64encode(buffer.getvalue()).decode(), tile, columns)
