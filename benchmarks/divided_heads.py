"""Heads for benchmarks of fine-tuning, on data with a test split that nothing is chosen by."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

import frostline

BACKBONE = "efficientnet-lite0"
# Path, label and split of an image.
Row = tuple[str, str, str]


def fit_head(
    data: str,
    seed: int,
    folder: Path,
    *,
    image_size: int | None = None,
    draw: Callable[[list[Row]], list[Row]] = lambda rows: rows,
) -> Path:
    """The run of a logistic head on FOLDER or FOLDER:IMAGE_SIZE, with a test split.

    Of a folder with train and val alone the seed makes a test split of half of val; other folders
    are divided by the seed, equal images together.

    Args:
        image_size: in place of the one in `data`.
        draw: which of the images to take, where the folder gives splits.
    """
    root, _, size = data.partition(":")
    image_size = image_size or (int(size) if size else None)
    name = f"{Path(root).name}{image_size or ''}-{seed}"
    images, how = Path(root).resolve(), {"val_fraction": 0.2, "test_fraction": 0.2}
    if (images / "val").is_dir():
        rows = draw(list_images(images, seed))
        images, how = folder / f"{name}.csv", {}
        with images.open("w", newline="") as file:
            csv.writer(file).writerows([("path", "label", "split"), *rows])
    features = frostline.extract(
        images, backbone=BACKBONE, image_size=image_size, output=folder / f"{name}.h5"
    )
    return Path(frostline.fit_head(features, seed=seed, output=folder / name, force=True, **how))


def list_images(root: Path, seed: int) -> list[Row]:
    """All images of a folder with train and val; half of val is test."""
    rng, rows = np.random.default_rng(seed), []
    for folder in sorted((root / "train").iterdir()):
        rows += [(str(path), folder.name, "train") for path in sorted(folder.iterdir())]
        others = rng.permutation(sorted(map(str, (root / "val" / folder.name).iterdir())))
        rows += [(path, folder.name, ("val", "test")[n % 2]) for n, path in enumerate(others)]
    return rows
