"""What trainings cost here: a step is timed, the rest follows from the work of the layers."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.backbones.frost_lines import find_frost_lines
from pipeline.errors import DeviceError
from pipeline.finetuning.network import Network
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.replicas import Replicas
from pipeline.system.keras_on_tensorflow import keras

N_TIMED = 2
# Going back through a layer takes its work twice: for its inputs' gradients and its weights'.
BACKWARD = 2.0


@dataclass(frozen=True)
class StepCosts:
    """Seconds of steps and predictions that begin at one place.

    Args:
        step: of a whole batch, trained from where it begins.
        start: until the first step of a training, its graph being made.
        work_below: of the backbone's work, the share that lies below the inputs; 0 for pixels.
        work_at: of each frost line, the share that lies below it; of `all` 0.
        batch_size: of the step.
    """

    step: float
    start: float
    work_below: float
    work_at: Mapping[str, float]
    batch_size: int

    def training(self, line: str, n_epochs: int, n_train: int, n_judging: int) -> float:
        """Seconds of one training with its validation."""
        every = 1 - self.work_below
        thawed = min(every, 1 - self.work_at[line])
        step = self.step * (every + BACKWARD * thawed) / (every * (1 + BACKWARD))
        judging = self.prediction(n_judging)
        return self.start + n_epochs * (-(-n_train // self.batch_size) * step + judging)

    def prediction(self, n_images: int) -> float:
        """Seconds to predict images."""
        return n_images / self.batch_size * self.step / (1 + BACKWARD)

    def whole_prediction(self, n_images: int) -> float:
        """Seconds to predict images from their pixels."""
        return self.prediction(n_images) / (1 - self.work_below)


def time_steps(
    classifier: keras.Model,
    line: str,
    begins_at: str | None,
    options: FinetuneOptions,
    n_classes: int,
    replicas: Replicas,
) -> StepCosts:
    """Times a step of the network as it is thawed, at a rate of 0: it changes nothing.

    Args:
        line: the lowest that will be trained from.
        begins_at: as for `Network`.
    """
    backbone = classifier.get_layer("backbone")
    lines = {one.name: one for one in find_frost_lines(backbone)}
    shape = classifier.input_shape[1:] if begins_at is None else lines[begins_at].shape
    random = np.random.default_rng(0)
    x = random.random((options.batch_size, *shape), np.float32)
    y = np.eye(n_classes, dtype=np.float32)[np.arange(options.batch_size) % n_classes]
    weights = np.ones(options.batch_size, np.float32)
    started = time.perf_counter()
    network = Network(classifier, line, options, begins_at=begins_at, replicas=replicas)
    _warm_up(network, lambda: network.step(x, y, weights, 0.0))
    first, seconds = time.perf_counter() - started, []
    for _ in range(N_TIMED):
        started = time.perf_counter()
        network.step(x, y, weights, 0.0)
        seconds.append(time.perf_counter() - started)
    return StepCosts(
        step=min(seconds),
        start=first - min(seconds),
        work_below=0.0 if begins_at is None else lines[begins_at].share_below,
        work_at={"all": 0.0, **{name: one.share_below for name, one in lines.items()}},
        batch_size=options.batch_size,
    )


def _warm_up(network: Network, step: Callable[[], object]) -> None:
    """A first step; in as many parts as training would take, where a batch does not fit."""
    while True:
        try:
            step()
            return
        except DeviceError:
            if not network.halve():
                raise
