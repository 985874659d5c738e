"""Writes feature files with made-up but realistic features, block by block."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.stand_in import RECIPE
from pipeline.features.feature_file import Contents, ImageTable, write_features
from pipeline.features.file_stamps import no_stamps

RANK = 64
ROWS_PER_BLOCK = 4096


def make_blocks(labels: np.ndarray, n_features: int, random_state: int) -> Iterator[np.ndarray]:
    """Features of rows with these labels, float32 (n_rows, n_features) a block.

    Classes are clusters that overlap in 64 directions of falling variance; noise, a shift and a
    ReLU make of them what a pooled last layer looks like: correlated, skewed, many zeros.
    """
    random = np.random.default_rng(random_state)
    fall = np.arange(1, RANK + 1, dtype=np.float32)[:, None] ** -0.5
    directions = fall * random.standard_normal((RANK, n_features), np.float32)
    centers = 0.45 * random.standard_normal((int(labels.max()) + 1, RANK), np.float32)
    for start in range(0, len(labels), ROWS_PER_BLOCK):
        of_class = centers[labels[start : start + ROWS_PER_BLOCK]]
        inner = of_class + random.standard_normal(of_class.shape, np.float32)
        noise = random.standard_normal((len(inner), n_features), np.float32)
        yield np.maximum(inner @ directions + 0.5 * noise + 0.3, 0)


def write_synthetic_features(
    path: Path,
    n_samples: int,
    n_features: int = 1280,
    n_classes: int = 6,
    random_state: int = 0,
    make_image: Callable[[str], bytes] = str.encode,
    data_root: str = "synthetic",
) -> None:
    """Writes a feature file as `extract` would for folders of classes: rows of a class together.

    Args:
        make_image: called with each image's path; gives what is in its file.
        data_root: where the images lie.
    """
    labels = np.sort(np.arange(n_samples, dtype=np.int32) % n_classes)
    paths = [f"class-{label}/{row:07d}.jpg" for row, label in enumerate(labels.tolist())]
    digests = [hashlib.sha256(make_image(name)).digest() for name in paths]
    nothing = np.zeros(0, int)
    nobody = ImageTable([], np.zeros((0, 32), np.uint8), nothing, nothing, no_stamps(0))
    contents = Contents(
        recipe=RECIPE,
        images=ImageTable(
            paths,
            np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32),
            np.zeros(n_samples, np.int64),
            np.zeros(n_samples, np.int64),
            no_stamps(n_samples),
        ),
        labels=labels,
        splits=np.full(n_samples, -1, np.int8),
        arrivals=np.zeros(n_samples, np.int32),
        class_names=[f"class-{label}" for label in range(n_classes)],
        skipped=nobody,
        reasons=[],
        retired=np.zeros((0, 32), np.uint8),
        data_root=data_root,
        weights_source="random",
        batch_size=8,
        created="",
        software={},
        probe_rows=np.arange(min(8, n_samples)),
        probe_pixels=np.zeros((min(8, n_samples), 8, 8, 3), np.uint8),
    )
    blocks = make_blocks(labels, n_features, random_state)
    write_features(path, contents, blocks, [], n_features)
