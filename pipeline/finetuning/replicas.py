"""One device or several: where the model's variables live, and how a batch is divided."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import numpy as np
import tensorflow as tf

from pipeline.backbones.engines.device import Device


class Replicas:
    """Copies of the model that each take a share of a batch; one copy unless told otherwise."""

    def __init__(self, strategy: tf.distribute.Strategy | None):
        self._strategy = strategy
        self.n = 1 if strategy is None else strategy.num_replicas_in_sync

    @contextmanager
    def scope(self) -> Iterator[None]:
        if self._strategy is None:
            yield
        else:
            with self._strategy.scope():
                yield

    def divide(self, x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple:
        """A batch for Keras's train function, divided among the copies.

        The loss of a copy is the mean over its share, and the mean over the copies is taken of
        that; so where shares differ in size the weights make up for it.
        """
        if self.n == 1:
            return tuple(tf.constant(values) for values in (x, y, weights))
        if len(x) < self.n:  # each copy needs something to do
            x, y, weights = (np.concatenate([values] * self.n) for values in (x, y, weights))
        shares = np.array_split(np.arange(len(x)), self.n)

        def pick(values):
            return self._strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(values[shares[context.replica_id_in_sync_group]])
            )

        balance = np.concatenate([np.full(len(s), len(s) * self.n / len(x)) for s in shares])
        return pick(x), pick(y), pick((weights * balance).astype(np.float32))


ONE_DEVICE = Replicas(None)


@contextmanager
def place(strategy: str, device: Device) -> Iterator[Replicas]:
    """Puts what is built and run inside on one device, or mirrors it on all of its kind."""
    if strategy == "mirrored":
        kind = "GPU" if device.is_gpu else "CPU"
        names = [found.name for found in tf.config.list_logical_devices(kind)]
        replicas = Replicas(tf.distribute.MirroredStrategy(names))
        with replicas.scope():
            yield replicas
    else:
        with keras.device(device.name.strip("/").lower()):
            yield ONE_DEVICE
