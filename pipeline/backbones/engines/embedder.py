"""A frozen network as a function of any number of images, whatever engine runs it."""

import numpy as np

from pipeline.backbones.engines.engine import Engine, describe_engine

IMAGES_PER_TASK = 8


class Embedder:
    """Pixels to features.

    Any number of threads may call it at once. On a CPU the same image gives the same bits wherever
    in whichever batch it is; on a GPU, where batches are padded to one size, most networks do that.

    Args:
        engine: takes one batch a call.
        is_fast: as the engine's network is.
    """

    def __init__(self, engine: Engine, *, is_fast: bool = False):
        self.device = engine.device
        self.record = describe_engine(engine, is_fast=is_fast)
        self.batch_size = engine.batch_size
        self.n_streams = engine.n_streams
        self.n_features = engine.n_features
        self.images_per_task = -(-IMAGES_PER_TASK // engine.batch_size) * engine.batch_size
        device = engine.device
        self.notes = [f"Computing on {device.description}.", *device.notes, *engine.notes]
        self._engine = engine

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Features of any number of images.

        Args:
            pixels: uint8 RGB (n_samples, height, width, 3).

        Returns:
            float32 (n_samples, n_features).

        Raises:
            DeviceError: the batch does not fit the device's memory.
        """
        features = np.empty((len(pixels), self.n_features), np.float32)
        for start in range(0, len(pixels), self.batch_size):
            part = pixels[start : start + self.batch_size]
            features[start : start + len(part)] = self._embed(part)
        return features

    def _embed(self, pixels: np.ndarray) -> np.ndarray:
        n_images = len(pixels)
        if n_images == self.batch_size or self._engine.takes_fewer:
            return self._engine(pixels)
        batch = np.zeros((self.batch_size, *pixels.shape[1:]), np.uint8)
        batch[:n_images] = pixels
        return self._engine(batch)[:n_images]

    def advise(self) -> list[str]:
        """How the next extraction could be faster, measured; may take a second."""
        return self._engine.advise()
