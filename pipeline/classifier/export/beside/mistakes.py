"""What a run says of pictures that were prepared wrongly, in each of the ways that are usual.

An app that says the same has made that mistake: so `check.py` finds the reason, and needs no model
for it, only what the app said.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from pipeline.classifier.export.contents import PROBABILITIES
from pipeline.classifier.export.images import ImagesOfExport
from pipeline.classifier.export.shipped.check import N_SEARCH, list_mistakes
from pipeline.classifier.sources import make_source
from pipeline.errors import ExportError
from pipeline.images.decoding.decode import RESIZE_MODES
from pipeline.images.decoding.formats import open_image
from pipeline.images.decoding.read_images import DEFAULT_LIMITS
from pipeline.recipe import Recipe

if TYPE_CHECKING:
    from pipeline.classifier.export.whole_network import WholeNetwork

_LEAST_CHANGE = 0.5  # of a level, on average
_OTHERWISE = {
    "stretch": "stretched to the square",
    "crop": "cropped to the middle square",
    "pad": "padded to a square",
}


@dataclass(frozen=True)
class Mistaken:
    """What the run says of some references whose pixels were prepared wrongly.

    Args:
        names: of what was done wrong, behind "pixels".
        rows: of the references.
        probabilities: float32 `(n_mistakes, n_rows, n_classes)`.
    """

    names: list[str]
    rows: np.ndarray
    probabilities: np.ndarray


def answer_mistakes(network: "WholeNetwork", images: ImagesOfExport, recipe: Recipe) -> Mistaken:
    """Asks the network what it says of references as those prepare them who forget something.

    Args:
        images: all references.
        recipe: how they are prepared rightly.
    """
    from pipeline.backbones.keras_settings import keras_settings

    rows = np.unique(np.linspace(0, len(images) - 1, N_SEARCH).astype(np.int64))
    names, answers = [], []
    with keras_settings():
        for name, pixels in prepare_wrongly(images, rows, recipe):
            outputs = network.model(np.ascontiguousarray(pixels, np.float32), training=False)
            names.append(name)
            answers.append(np.asarray(outputs[PROBABILITIES], np.float32))
    return Mistaken(names, rows, np.stack(answers))


def prepare_wrongly(
    images: ImagesOfExport, rows: np.ndarray, recipe: Recipe
) -> Iterator[tuple[str, np.ndarray]]:
    """Each mistake, and the pixels that it makes of the references: those that it changes."""
    right = images.pixels[rows]
    for name, change in list_mistakes():
        yield name, change(right.astype(np.float32))
    paths = [images.paths[row] for row in rows.tolist()]
    for mode in RESIZE_MODES:
        if mode != recipe.resize:
            pixels = np.stack([_decode(path, replace(recipe, resize=mode)) for path in paths])
            if _is_other(pixels, right):  # squares are the same in each
                yield _OTHERWISE[mode], pixels
    pixels = np.stack([_resize_by_four(path, recipe) for path in paths])
    if _is_other(pixels, right):  # nothing is averaged where pictures are small
        yield "resized without antialiasing", pixels


def _is_other(pixels: np.ndarray, right: np.ndarray) -> bool:
    return float(np.abs(pixels.astype(np.float32) - right).mean()) > _LEAST_CHANGE


def _decode(path: Path, recipe: Recipe) -> np.ndarray:
    _, pixels = make_source(path, 0).read(recipe, DEFAULT_LIMITS)
    if isinstance(pixels, str):
        raise ExportError(f"This image {pixels}. Expected what it was. Received: {path}")
    return pixels


def _resize_by_four(path: Path, recipe: Recipe) -> np.ndarray:
    """A picture as programs read it that know nothing of antialiasing: its whole pixels, upright,
    cropped or padded first as the recipe says, then bilinear between the four pixels around each
    place, as OpenCV's INTER_LINEAR.
    """
    data = path.read_bytes()
    with open_image(data, io.BytesIO(data)) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
    if recipe.resize == "crop":
        image = ImageOps.fit(image, (min(image.size),) * 2, Image.Resampling.NEAREST)
    elif recipe.resize == "pad":
        image = ImageOps.pad(image, (max(image.size),) * 2, color=recipe.background)
    side = recipe.image_size
    matrix = (image.width / side, 0, 0, 0, image.height / side, 0)
    form, filter_ = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    return np.array(image.transform((side, side), form, matrix, filter_))
