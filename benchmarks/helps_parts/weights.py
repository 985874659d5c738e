"""The weights that a fine-tuning goes through, and what may be made of them."""

from collections.abc import Iterable, Sequence

import numpy as np

from pipeline.system.keras_on_tensorflow import keras

MOMENTA = (0.9, 0.95, 0.98, 0.99)

# Place among the model's weights -> value; of what is trained.
Weights = dict[int, np.ndarray]


class Recorder(keras.callbacks.Callback):
    """Keeps the trained weights: before, after each epoch, and their moving averages then.

    `epochs[0]` and `averages[momentum][0]` are the frozen head's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[Weights] = []
        self.averages: dict[float, list[Weights]] = {momentum: [] for momentum in MOMENTA}
        self._now: dict[float, Weights] = {}
        self._trained: dict[int, keras.Variable] = {}

    def on_train_begin(self, logs: dict | None = None) -> None:
        trained = {id(variable) for variable in self.model.trainable_variables}
        self._trained = {
            place: variable
            for place, variable in enumerate(self.model.weights)
            if id(variable) in trained
        }
        self.epochs.append(self._read())
        for momentum in MOMENTA:
            self.averages[momentum].append(self.epochs[0])
            self._now[momentum] = self.epochs[0]

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        values = self._read()
        for momentum, average in self._now.items():
            self._now[momentum] = mix([average, values], [momentum, 1 - momentum])

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.epochs.append(self._read())
        for momentum, average in self._now.items():
            self.averages[momentum].append(average)

    def _read(self) -> Weights:
        return {place: np.array(variable) for place, variable in self._trained.items()}


def mix(several: Sequence[Weights], shares: Iterable[float] | None = None) -> Weights:
    """Their weighted sum; the mean if no shares are given."""
    factors = [1 / len(several)] * len(several) if shares is None else list(shares)
    return {
        place: sum(
            np.float32(share) * weights[place]
            for share, weights in zip(factors, several, strict=True)
        )
        for place in several[0]
    }
