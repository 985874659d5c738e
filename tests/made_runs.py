"""Runs made in a fraction of a second: tiny images, made-up features of them, a head."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
from conftest import COLOURS, call, save_image
from PIL import Image

from benchmarks.stand_in import RECIPE
from pipeline.features.feature_file import Contents, write_features
from pipeline.features.file_stamps import no_stamps
from pipeline.features.image_table import ImageTable
from pipeline.heads.fit_head import fit_head

N_FEATURES = 12


@contextmanager
def reports_without_what_takes_long() -> Iterator[None]:
    """Forecasts, which `test_ahead.py` has, and t-SNE of fewer than 100 images."""
    gathering = "pipeline.report.gathering"
    with (
        patch(f"{gathering}.gather_run.plot_ahead", lambda run, on_progress: ([], [])),
        patch(f"{gathering}.feature_map.FEWEST_POINTS", 100),
    ):
        yield


def make_images(root: Path, class_names: Sequence[str], n_per_class: int) -> list[str]:
    """Small squares, a hue for each class, in a folder for each; their paths below the root."""
    random, paths = np.random.default_rng(0), []
    for number, name in enumerate(class_names):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(n_per_class):
            colour = np.zeros(3)
            colour[number % 3] = 200
            pixels = np.clip(colour + random.normal(0, 30, (24, 24, 3)), 0, 255)
            paths.append(f"{name}/{i:03d}.png")
            Image.fromarray(pixels.astype(np.uint8)).save(root / paths[-1])
    return paths


def make_features(
    path: Path,
    root: Path,
    paths: Sequence[str],
    *,
    spread: float = 1.0,
    seed: int = 0,
    image_size: int = RECIPE.image_size,
) -> Path:
    """A feature file of images whose folder is their class: a cluster for each class."""
    names = sorted({name.split("/")[0] for name in paths})
    order = sorted(range(len(paths)), key=lambda row: paths[row])
    paths = [paths[row] for row in order]
    labels = np.array([names.index(name.split("/")[0]) for name in paths], np.int32)
    random = np.random.default_rng(seed)
    centres = random.normal(0, 1, (len(names), N_FEATURES))
    features = centres[labels] + spread * random.normal(0, 1, (len(paths), N_FEATURES))
    digests = [hashlib.sha256((root / name).read_bytes()).digest() for name in paths]
    nothing = np.zeros(0, np.int64)
    contents = Contents(
        recipe=replace(RECIPE, image_size=image_size),
        images=ImageTable(
            paths,
            np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
            np.array([(root / name).stat().st_size for name in paths]),
            np.zeros(len(paths), np.int64),
            no_stamps(len(paths)),
        ),
        labels=labels,
        splits=np.full(len(paths), -1, np.int8),
        split_rule="exact",
        arrivals=np.zeros(len(paths), np.int32),
        class_names=names,
        skipped=ImageTable([], np.zeros((0, 32), np.uint8), nothing, nothing, no_stamps(0)),
        reasons=[],
        retired=np.zeros((0, 32), np.uint8),
        data_root=str(root),
        data_name="photos",
        weights_source="random",
        batch_size=8,
        created="2026-11-27T00:00:00+00:00",
        software={},
        probe_rows=np.arange(4),
        probe_pixels=np.zeros((4, image_size, image_size, 3), np.uint8),
    )
    write_features(path, contents, [features.astype(np.float32)], [], N_FEATURES)
    return path


def make_run(folder: Path, name: str, class_names: Sequence[str], n_per_class: int, **how) -> Path:
    """Images in folder/photos, features in folder/NAME.h5, a logistic head in folder/NAME."""
    made = {key: how.pop(key) for key in ("spread", "seed") if key in how}
    paths = make_images(folder / "photos", class_names, n_per_class)
    features = make_features(folder / f"{name}.h5", folder / "photos", paths, **made)
    return fit_undrawn(features, folder / name, **how)


def fit_undrawn(features: Path | list[Path], output: Path, **how) -> Path:
    """A logistic head without the pictures in `plots/`, which take longer than all else."""
    with patch("pipeline.heads.write_run._draw"):
        return fit_head(features, output=output, **{"C": 1.0, **how}).folder


def fit_on_alike_classes(folder: Path, n_per_class: int, *options: object) -> Path:
    """A run of a network that is built and traced in a moment, on classes so much alike that there
    is a loss to compare; of each class the last two images are equal if there are more than 12.

    Args:
        options: of fit-head.
    """
    for number, name in enumerate(COLOURS):
        colour = 128 + 12 * np.eye(3)[2 - number]
        n_different = n_per_class - (n_per_class > 12)
        for i in range(n_per_class):
            path = folder / "photos" / name / f"{i:03d}.png"
            save_image(path, seed=1000 * number + min(i, n_different - 1), colour=colour)
    steps = [
        ["extract", folder / "photos", "--backbone", "squeezenet1_1", "--weights", "random",
         "--image-size", 32, "--output", folder / "features.h5"],
        ["fit-head", folder / "features.h5", *options, "--output", folder / "logreg"],
    ]  # fmt: skip
    for step in steps:
        outcome = call(*step)
        assert outcome.exit_code == 0, outcome.stderr
    return folder / "logreg"
