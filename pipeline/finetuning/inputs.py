"""What a step of fine-tuning is fed: augmented pixels, or rows of the trunk cache."""

from typing import Protocol

import numpy as np

from pipeline.finetuning.pixels import PixelStore
from pipeline.finetuning.trunk.cache import TrunkCache, key_of
from pipeline.images.augmentation.augment import Augmentation
from pipeline.system.parallel import map_batches

UNCHANGED = Augmentation("none", flip=False, seed=0)


class Inputs(Protocol):
    """Batches for the network, by row numbers."""

    def train(
        self, rows: np.ndarray, targets: np.ndarray, epoch: int, batch: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Augmented inputs and the targets (n, n_classes) that go with them."""
        ...

    def plain(self, rows: np.ndarray) -> np.ndarray:
        """Inputs as they are."""
        ...


class PixelInputs:
    """RGB 0..255, float32 (n, height, width, 3).

    Args:
        n_threads: that augment the images of a batch; it changes none of them.
    """

    def __init__(self, store: PixelStore, augment: Augmentation, n_threads: int = 1):
        self._store = store
        self._augment = augment
        self._n_threads = n_threads

    def train(
        self, rows: np.ndarray, targets: np.ndarray, epoch: int, batch: int
    ) -> tuple[np.ndarray, np.ndarray]:
        parts = np.array_split(rows, min(self._n_threads, len(rows)))
        augmented = map_batches(
            lambda part: self._augment(self._store.read(part), part, epoch), parts, self._n_threads
        )
        images = np.concatenate(list(augmented))
        return self._augment.mix(images, targets, epoch, batch)

    def plain(self, rows: np.ndarray) -> np.ndarray:
        return self._store.read(rows).astype(np.float32)


class TrunkInputs:
    """What the trunk made of the images, float32 (n, height, width, channels).

    MixUp and CutMix mix these as they would mix images: "manifold mixup", Verma et al., ICML 2019
    (https://arxiv.org/abs/1806.05236). A box of a map is what a box of the image became.

    Args:
        cache: holds view 0 of the images to evaluate and views 1..`n_views` of those to train on.
        digests: uint8 (n_samples, 32), of all rows.
        n_views: augmented versions of each image, 0 = train on view 0.
        seed: decides at which view an image starts; from epoch to epoch it takes the next.
        augment: mixes the rows of a batch, if its preset does.
    """

    def __init__(
        self,
        cache: TrunkCache,
        digests: np.ndarray,
        n_views: int,
        seed: int,
        augment: Augmentation = UNCHANGED,
    ):
        self._cache = cache
        self._augment = augment
        self._digests = digests
        self._n_views = n_views
        self._first = np.random.default_rng([seed, 1]).integers(max(1, n_views), size=len(digests))

    def train(
        self, rows: np.ndarray, targets: np.ndarray, epoch: int, batch: int
    ) -> tuple[np.ndarray, np.ndarray]:
        if self._n_views == 0:
            return self.plain(rows), targets
        views = 1 + (self._first[rows] + epoch) % self._n_views
        return self._augment.mix(self._read(rows, views), targets, epoch, batch)

    def plain(self, rows: np.ndarray) -> np.ndarray:
        return self._read(rows, np.zeros(len(rows), np.int64))

    def _read(self, rows: np.ndarray, views: np.ndarray) -> np.ndarray:
        keys = [key_of(self._digests[row], int(v)) for row, v in zip(rows, views, strict=True)]
        return self._cache.read(np.stack(keys)).astype(np.float32)
