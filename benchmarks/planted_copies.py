"""Photos with copies planted among them: of six kinds, as people make them, not as audits do."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

Change = Callable[[Image.Image, np.random.Generator], Image.Image]
SUFFIXES = {".jpg", ".jpeg", ".png"}


def crop(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """80% of each side, from anywhere."""
    width, height = (round(0.8 * side) for side in image.size)
    left = int(random.integers(0, image.width - width + 1))
    top = int(random.integers(0, image.height - height + 1))
    return image.crop((left, top, left + width, top + height))


def write_over(image: Image.Image, random: np.random.Generator) -> Image.Image:
    """Two lines of white text with black edges, a sixth of the height each."""
    copy = image.copy()
    font = ImageFont.load_default(max(8, image.height // 6))
    top = int(random.integers(0, image.height // 2))
    ImageDraw.Draw(copy).text(
        (image.width // 20, top), "SUMMER\nSALE 50%", "white", font, stroke_width=1,
        stroke_fill="black",
    )  # fmt: skip
    return copy


# The change of each kind, and the quality at which the copy is saved.
KINDS: dict[str, tuple[Change, int]] = {
    "half size": (lambda image, _: image.reduce(2), 90),
    "JPEG 30": (lambda image, _: image, 30),
    "crop of 80%": (crop, 90),
    "brighter": (lambda image, _: ImageEnhance.Brightness(image).enhance(1.4), 90),
    "mirrored": (lambda image, _: ImageOps.mirror(image), 90),
    "text over it": (write_over, 90),
}


def plant_copies(source: Path, target: Path, n_of_kind: int, seed: int) -> dict[str, tuple]:
    """Copies the photos of a folder, and plants changed copies among them.

    Returns:
        The path of each copy, relative to `target`, with that of its original and its kind.
    """
    shutil.copytree(source, target)
    random = np.random.default_rng(seed)
    photos = sorted(path for path in target.rglob("*") if path.suffix.lower() in SUFFIXES)
    chosen = random.permutation(len(photos))[: n_of_kind * len(KINDS)]
    planted = {}
    for number, photo in enumerate(chosen.tolist()):
        kind = list(KINDS)[number % len(KINDS)]
        change, quality = KINDS[kind]
        original = photos[photo]
        copy = original.with_name(f"copy-{number:04d}.jpg")
        with Image.open(original) as image:
            change(image.convert("RGB"), random).save(copy, quality=quality)
        planted[str(copy.relative_to(target))] = str(original.relative_to(target)), kind
    return planted
