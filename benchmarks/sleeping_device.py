"""A stand-in for a GPU that takes its time and computes nothing, and pixels that cost nothing.

Decoder processes import this module by name, so it is not in `feed.py`.
"""

import threading
import time
from functools import cache
from pathlib import Path

import numpy as np

from pipeline.backbones.engines.device import Device
from pipeline.images.decoding.read_images import Limits
from pipeline.recipe import Recipe

SECONDS_AN_IMAGE = 1e-4
BATCH_SIZE = 128
SIDE = 224


class SleepingDevice:
    """An engine that takes its time and computes nothing; one batch at a time, as a GPU."""

    name, version, precision = "sleeping", "1", "float32"
    device = Device("/GPU:0", "a stand-in for a GPU")
    batch_size, n_streams, n_features, takes_fewer = BATCH_SIZE, 8, 4, False
    busy_seconds = 0.0  # of all that there are

    def __init__(self):
        self.notes: list[str] = []
        self._lock = threading.Lock()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        with self._lock:
            started = time.perf_counter()
            time.sleep(SECONDS_AN_IMAGE * self.batch_size)
            SleepingDevice.busy_seconds += time.perf_counter() - started
        return pixels[:, 0, 0, :1].astype(np.float32).repeat(self.n_features, axis=1)

    def advise(self) -> list[str]:
        return []


@cache
def _ready_pixels() -> tuple[np.ndarray, np.ndarray]:
    return np.ones(32, np.uint8), np.zeros((SIDE, SIDE, 3), np.uint8)


def take_ready(path: Path, recipe: Recipe, limits: Limits) -> tuple[np.ndarray, np.ndarray | str]:
    """In the place of `read_image`: free decoding."""
    return _ready_pixels()
