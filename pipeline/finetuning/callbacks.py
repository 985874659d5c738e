"""People's own Keras callbacks, called while fine-tuning as Keras's `fit` calls them.

Heard are the begin and end of the training, of epochs and of batches, and `model.stop_training`
once an epoch has ended. What a callback does to the trained weights between epochs is undone,
so that the epoch that is kept, and what `resume` goes on from, do not depend on who listens.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pipeline.errors import ParameterError

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras

# What Keras calls the values of an epoch's record.
_NAMES = {"train_loss": "loss", "train_accuracy": "accuracy"}
_OF_THE_RUN = ("epoch", "seconds")
# Set an optimizer's rate, which follows a schedule of its own here.
_SET_THE_RATE = ("LearningRateScheduler", "ReduceLROnPlateau")


class Callbacks:
    """Callbacks of one training.

    Args:
        callbacks: in the order in which they are called.
    """

    def __init__(self, callbacks: Iterable["keras.callbacks.Callback"] = ()):
        self._callbacks = list(callbacks)

    def begin(self, model: "keras.Model", *, n_epochs: int, n_batches: int) -> None:
        """Tells them their model, and that training begins or goes on.

        Args:
            model: the whole classifier, whose weights are trained in place; it is not compiled.
            n_epochs: at most, of the whole training.
            n_batches: of an epoch.
        """
        model.stop_training = False
        for callback in self._callbacks:
            callback.set_model(model)
            callback.set_params({"epochs": n_epochs, "steps": n_batches, "verbose": 0})
        for callback in self._callbacks:
            callback.on_train_begin()

    def begin_epoch(self, epoch: int) -> None:
        """Tells them of an epoch by its number in `history.csv`, from 1 on; Keras counts from 0."""
        for callback in self._callbacks:
            callback.on_epoch_begin(epoch - 1)

    def begin_batch(self, batch: int) -> None:
        for callback in self._callbacks:
            callback.on_train_batch_begin(batch)

    def end_batch(self, batch: int, loss: float, accuracy: float) -> None:
        for callback in self._callbacks:
            callback.on_train_batch_end(batch, {"loss": loss, "accuracy": accuracy})

    def end_epoch(self, record: dict[str, float]) -> None:
        """Tells them what an epoch came to, by its record in `history.csv`."""
        for callback in self._callbacks:
            callback.on_epoch_end(int(record["epoch"]) - 1, name_as_keras(record))

    def end(self, record: dict[str, float]) -> None:
        """Tells them that training has ended, with the record of the last epoch."""
        for callback in self._callbacks:
            callback.on_train_end(name_as_keras(record))

    def __bool__(self) -> bool:
        return bool(self._callbacks)


NO_CALLBACKS = Callbacks()


def name_as_keras(record: dict[str, float]) -> dict[str, float]:
    """An epoch's record as Keras's `logs`: `loss`, `accuracy`, `val_loss` (calibrated), ..."""
    return {
        _NAMES.get(name, name): value for name, value in record.items() if name not in _OF_THE_RUN
    }


def require_callbacks(wanted: Any) -> list["keras.callbacks.Callback"]:
    """Callbacks as a list, of which each can be called here.

    Raises:
        ParameterError: something else is among them, or one that sets the learning rate.
    """
    if wanted is None:
        return []
    from pipeline.system.keras_on_tensorflow import keras

    found = list(wanted) if isinstance(wanted, list | tuple) else [wanted]
    for one in found:
        if not isinstance(one, keras.callbacks.Callback):
            raise ParameterError(
                "This is not a callback. Expected `callbacks` to be a list of "
                f"`keras.callbacks.Callback`. Received: {one!r}",
                "callbacks",
            )
        if isinstance(one, tuple(getattr(keras.callbacks, name) for name in _SET_THE_RATE)):
            raise ParameterError(
                "The learning rate of fine-tuning follows a schedule of its own: a warm-up, then a "
                "cosine. Expected `callbacks` that leave it alone. Received: "
                f"{type(one).__name__}\nSay `learning_rate=...` or `find_learning_rate=True`.",
                "callbacks",
            )
    return found
