"""A cheap deterministic stand-in for the backbone that counts what it is asked to embed."""

import threading

import numpy as np

from pipeline.features.summary import ExtractSummary
from pipeline.features.update import update_features
from pipeline.features.update_job import UpdateOptions
from pipeline.images.dataset import scan_dataset
from pipeline.recipe import EngineRecord, Recipe


class StandIn:
    """Means and deviations of a grid of pixels: float32 (n_samples, 2 * 3 * 4)."""

    n_features = 24
    n_streams = 2

    def __init__(self, batch_size: int | None = None):
        self.batch_size = self.images_per_task = batch_size or 4
        self.record = EngineRecord("stand-in", "1", "cpu", "a stand-in", batch_size=self.batch_size)
        self.notes: list[str] = []
        self.n_images = 0
        self.n_calls = 0
        self._lock = threading.Lock()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        with self._lock:
            self.n_images += len(pixels)
            self.n_calls += 1
        n_samples, height, width, _ = pixels.shape
        quarters = pixels.reshape(n_samples, 2, height // 2, 2, width // 2, 3).astype(np.float32)
        parts = [quarters.mean((2, 4)), quarters.std((2, 4))]
        return np.concatenate([part.reshape(n_samples, -1) for part in parts], axis=1)


RECIPE = Recipe(
    backbone="stand-in",
    weights="random:0",
    image_size=8,
    resize="stretch",
    background=(255, 255, 255),
    decoder_version=1,
    channel_order="RGB",
    scale=(1.0, 1.0, 1.0),
    offset=(0.0, 0.0, 0.0),
    layer="top",
    pooling="avg",
    precision="float32",
)


def extract(root, target, recipe=RECIPE, **options) -> tuple[ExtractSummary, StandIn]:
    """Extracts with a fresh stand-in; returns what happened and the stand-in with its counts.

    A second one is made where the rows that are there ask for another batch size; it counts.
    """
    embedders = []

    def make(batch_size):
        embedders.append(StandIn(batch_size))
        return embedders[-1]

    summary = update_features(scan_dataset(root), recipe, target, make, UpdateOptions(**options))
    return summary, embedders[-1] if embedders else StandIn()
