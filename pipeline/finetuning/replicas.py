"""One device or several: where the model's variables live, and how a batch is divided."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf

from pipeline.backbones.engines.device import Device
from pipeline.system.keras_on_tensorflow import keras

# A tensor, or one for each copy.
Share: TypeAlias = Any


class Replicas:
    """Copies of the model that each take a share of a batch; one copy unless told otherwise.

    Args:
        strategy: None for one copy.
        is_one_cpu: it is known that there is one copy, on a CPU.
    """

    def __init__(self, strategy: tf.distribute.Strategy | None, *, is_one_cpu: bool = False):
        self._strategy = strategy
        self.is_one_cpu = is_one_cpu
        self.n = 1 if strategy is None else strategy.num_replicas_in_sync

    @contextmanager
    def scope(self) -> Iterator[None]:
        """What is made inside has a copy on each device."""
        if self._strategy is None:
            yield
        else:
            with self._strategy.scope():
                yield

    def to_graph(
        self, function: Callable[..., Any], *shapes: tuple[int | None, ...]
    ) -> Callable[..., Any]:
        """The function as a graph. One that takes a tensor is drawn once, for batches of any size.

        Args:
            shapes: of the float32 tensors that it takes, or takes a share of for each copy.
        """
        if self._strategy is not None:
            return tf.function(function, reduce_retracing=True)
        graph = tf.function(function, input_signature=[tf.TensorSpec(one) for one in shapes])
        draw = cache(graph.get_concrete_function)

        def run(*tensors: tf.Tensor) -> Any:
            """Not by way of `graph`: that counts the graphs of all networks, and warns of them."""
            return draw()(*tensors)

        return run

    def fill(self, *batch: np.ndarray) -> list[np.ndarray]:
        """The batch; several times over where it has fewer images than there are copies."""
        if len(batch[0]) >= self.n:
            return list(batch)
        return [np.concatenate([values] * self.n) for values in batch]

    def divide(self, *batch: np.ndarray) -> list[Share]:
        """Each array of a batch in nearly equal shares, one for each copy."""
        strategy = self._strategy
        if strategy is None:
            return [tf.constant(values) for values in batch]
        rows = np.array_split(np.arange(len(batch[0])), self.n)

        def take_share(values: np.ndarray) -> Share:
            return strategy.experimental_distribute_values_from_function(
                lambda context: tf.constant(values[rows[context.replica_id_in_sync_group]])
            )

        return [take_share(values) for values in batch]

    def run(self, function: Callable[..., Any], *shares: Share) -> Any:
        """Calls a function on each copy with its share; what it returns, one for each copy."""
        if self._strategy is None:
            return function(*shares)
        return self._strategy.run(function, args=shares)

    def sum(self, results: tuple[Share, ...]) -> tuple[tf.Tensor, ...]:
        """Of what the copies returned, the sums over all copies."""
        if self._strategy is None:
            return results
        return tuple(
            self._strategy.reduce(tf.distribute.ReduceOp.SUM, result, axis=None)
            for result in results
        )


ONE_DEVICE = Replicas(None)


@contextmanager
def place(strategy: str, device: Device) -> Iterator[Replicas]:
    """Puts what is built and run inside on one device, or mirrors it on all of its kind."""
    if strategy == "mirrored":
        kind = "GPU" if device.is_gpu else "CPU"
        names = [found.name for found in tf.config.list_logical_devices(kind)]
        # On CPUs TensorFlow's default fails for a second strategy of the process whose gradients
        # have other shapes.
        reduction = None if device.is_gpu else tf.distribute.ReductionToOneDevice()
        replicas = Replicas(tf.distribute.MirroredStrategy(names, reduction))
        with replicas.scope():
            yield replicas
    else:
        with keras.device(device.name.strip("/").lower()):
            yield Replicas(None, is_one_cpu=not device.is_gpu)
