"""From the weights that training left to the model that is kept: float32, on one device, and never
below the frozen head.
"""

import numpy as np

from pipeline.backbones.engines.device import Device
from pipeline.backbones.engines.opening import open_model
from pipeline.classifier.build import load_classifier
from pipeline.finetuning.checkpoint import State
from pipeline.finetuning.epoch_passes import row_batches
from pipeline.finetuning.judge_epochs import beats, score_validation
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.parent import Parent
from pipeline.finetuning.pixels import PixelStore
from pipeline.finetuning.thawed import thaw_classifier
from pipeline.runs.predictions import Predictions
from pipeline.system.keras_on_tensorflow import keras
from pipeline.system.parallel import map_batches
from pipeline.system.progress import OnProgress


def make_final_model(
    model: keras.Model,
    parent: Parent,
    options: FinetuneOptions,
    line: str,
    device: Device,
    store: PixelStore,
    state: State,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> tuple[keras.Model, Predictions]:
    """The model to keep, and what it says of every image.

    Epochs are chosen in the precision of training, perhaps from a float16 trunk cache; this is
    the float32 model. Should it not beat the frozen head, then that is kept, and `state` says so.

    Args:
        model: with the winner's weights.
        line: the frost line.
        store: the parent's images.
        on_progress: called with a stage, how many images are predicted, and how many there are.
    """
    before = parent.before
    if options.precision != "float32" or options.strategy != "single":
        model = _copy(parent, line, model.get_weights())
    after = _predict(model, device, store, before, options.batch_size, on_progress)
    if state.best_epoch == 0:
        return model, after
    frozen, final = score_validation(before), score_validation(after)
    if beats(final.accuracy, final.loss, frozen):
        return model, after
    state.notes.append(
        f"Epoch {state.best_epoch} won while training, but as the float32 model that is kept it "
        f"has accuracy {final.accuracy:.4f} and log-loss {final.loss:.4f} on validation, no better "
        f"than the frozen head's {frozen.accuracy:.4f} and, calibrated, "
        f"{frozen.calibrated_loss:.4f}. So the result is the head as it was."
    )
    state.best_epoch, state.best_temperature, state.part, state.n_averaged = 0, 1.0, 1.0, 1
    model = _copy(parent, line)
    return model, _predict(model, device, store, before, options.batch_size, on_progress)


def _copy(parent: Parent, line: str, values: list[np.ndarray] | None = None) -> keras.Model:
    """The run's model in float32, with other values where there are some."""
    model = load_classifier(parent.run, parent.weights, "float32")
    thaw_classifier(model, line)
    if values is not None:
        model.set_weights(values)
    return model


def _predict(
    model: keras.Model,
    device: Device,
    store: PixelStore,
    before: Predictions,
    batch_size: int,
    on_progress: OnProgress,
) -> Predictions:
    embed = open_model(model, device, batch_size=batch_size)
    batches = row_batches(np.arange(len(store)), batch_size)
    parts, n_done = [], 0
    for part in map_batches(lambda rows: embed(store.read(rows)), batches, embed.n_streams):
        parts.append(part)
        n_done += len(part)
        on_progress("Predicting", n_done, len(store))
    probabilities = np.concatenate(parts)
    return Predictions(before.paths, before.splits, before.labels, probabilities)
