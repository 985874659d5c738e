"""The epochs of fine-tuning: train the thawed top, keep the best epoch, leave it in the model.

Epoch 0 is the frozen head. The epoch that wins has the lowest validation loss among those whose
validation accuracy is not below epoch 0's, so the result is never worse on either. Each epoch's
probabilities are calibrated by one temperature before they are compared: training end to end
makes a network too sure of itself (and label smoothing too unsure) without making it worse.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np

from pipeline.augment import build_augmentation
from pipeline.backbones.frost_lines import split_at
from pipeline.calibration import apply_temperature, find_temperature
from pipeline.metrics import mean_log_loss
from pipeline.parallel import map_batches
from pipeline.pixels import PixelStore
from pipeline.runs import Predictions
from pipeline.splits import TRAIN, VAL


@dataclass(frozen=True)
class FinetuneOptions:
    """How to fine-tune; the defaults are those of the command line.

    Args:
        unfreeze: a frost line's name or `all`; None = the top third of the backbone's work.
        epochs: at most so many.
        learning_rate: the highest, after the warm-up.
        warmup: share of all steps in which the rate rises to it.
        weight_decay: AdamW's, on kernels only.
        batch_size: images per step.
        patience: stop after so many epochs that did not win.
        augment: `none` or `light`.
        flip: mirror images left to right at random.
        class_weight: `balanced` or None.
        label_smoothing: share of the target spread over all classes.
        seed: decides the order of images, augmentation and dropout.
    """

    unfreeze: str | None = None
    epochs: int = 8
    learning_rate: float = 3e-4
    warmup: float = 0.1
    weight_decay: float = 1e-2
    batch_size: int = 32
    patience: int = 5
    augment: str = "light"
    flip: bool = False
    class_weight: str | None = None
    label_smoothing: float = 0.1
    seed: int = 0


class TrunkAndTop(keras.Model):
    """The classifier with its frozen trunk in inference mode, whatever the top is in.

    Shares all layers with the classifier.
    """

    def __init__(self, classifier: keras.Model, line: str):
        super().__init__(name="trunk_and_top")
        self.preprocessing = classifier.get_layer("preprocessing")
        self.head = classifier.get_layer("head")
        backbone = classifier.get_layer("backbone")
        self.trunk, self.top = (None, backbone) if line == "all" else split_at(backbone, line)

    def call(self, images, training=False):
        x = self.preprocessing(images)
        if self.trunk is not None:
            x = self.trunk(x, training=False)
        return self.head(self.top(x, training=training), training=training)


class Training:
    """The epochs: runs them, keeps the best, and leaves its weights in the classifier."""

    def __init__(
        self,
        classifier: keras.Model,
        line: str,
        store: PixelStore,
        before: Predictions,
        options: FinetuneOptions,
        on_progress: Callable[[str, int, int], None],
        on_epoch: Callable[[dict], None] | None,
    ):
        self.history: list[dict] = []
        self.notes: list[str] = []
        self.best_epoch = 0
        self._options = options
        self._store = store
        self._labels = before.labels
        self._rows = {split: np.flatnonzero(before.splits == split) for split in (TRAIN, VAL)}
        self._n_classes = before.probabilities.shape[1]
        self._on_progress = on_progress
        self._on_epoch = on_epoch or (lambda record: None)
        self._augment = build_augmentation(options.augment, flip=options.flip, seed=options.seed)
        self._class_weights = self._weigh_classes()
        self._model = TrunkAndTop(classifier, line)
        self._model.compile(
            optimizer=self._make_optimizer(),
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=options.label_smoothing),
            # The loss without label smoothing, so that it compares with validation's.
            metrics=["accuracy", keras.metrics.CategoricalCrossentropy()],
            jit_compile=False,
        )
        self._before = before

    @property
    def last_epoch(self) -> int:
        return self.history[-1]["epoch"]

    def run(self) -> None:
        self._record_frozen_head()
        best_weights, best_temperature = self._get_weights(), 1.0
        for epoch in range(1, self._options.epochs + 1):
            started = time.perf_counter()
            train_loss, train_accuracy = self._train_epoch(epoch)
            val_loss, val_accuracy, temperature = self._evaluate()
            self._record(
                epoch, train_loss, train_accuracy, val_loss, val_accuracy, temperature, started
            )
            if not np.isfinite(train_loss + val_loss):
                self.notes.append(
                    f"The loss was not finite in epoch {epoch}: training stopped there and the "
                    "best epoch before it was taken. Try a lower --learning-rate."
                )
                break
            frozen, best = self.history[0], self.history[self.best_epoch]
            if val_accuracy >= frozen["val_accuracy"] and val_loss < best["val_loss"]:
                self.best_epoch = epoch
                best_weights = self._get_weights()
                best_temperature = temperature
            elif epoch - self.best_epoch >= self._options.patience:
                break
        for variable, value in zip(self._model.trainable_variables, best_weights, strict=True):
            variable.assign(value)
        _soften(self._model.head, best_temperature)

    def _record_frozen_head(self) -> None:
        started = time.perf_counter()
        scores = []
        for split in (TRAIN, VAL):
            rows = self._rows[split]
            scores += _loss_and_accuracy(self._labels[rows], self._before.probabilities[rows])
        self._record(0, *scores, 1.0, started)

    def _record(
        self, epoch, train_loss, train_accuracy, val_loss, val_accuracy, temperature, started
    ) -> None:
        record = {
            "epoch": epoch,
            "train_loss": float(train_loss),
            "train_accuracy": float(train_accuracy),
            "val_loss": float(val_loss),
            "val_accuracy": float(val_accuracy),
            "temperature": temperature,
            "learning_rate": float(self._model.optimizer.learning_rate) if epoch else 0.0,
            "seconds": time.perf_counter() - started,
        }
        self.history.append(record)
        self._on_epoch(record)

    def _get_weights(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self._model.trainable_variables]

    def _train_epoch(self, epoch: int) -> tuple[float, float]:
        """One pass over the training images; its mean loss and accuracy, augmented as they are."""
        rows = self._rows[TRAIN]
        order = np.random.default_rng([self._options.seed, epoch]).permutation(rows)
        batches = list(enumerate(in_batches(order, self._options.batch_size)))
        sums, done = np.zeros(2), 0
        for (number, batch), pixels in map_batches(
            lambda task: (task, self._store.read(task[1])), batches, 2
        ):
            images = self._augment(pixels.astype(np.float32), epoch, number)
            labels = self._labels[batch]
            _, accuracy, loss = self._model.train_on_batch(
                images,
                np.eye(self._n_classes, dtype=np.float32)[labels],
                sample_weight=self._class_weights[labels],
            )
            sums += np.array([loss, accuracy]) * len(batch)
            done += len(batch)
            self._on_progress(f"Epoch {epoch}", done, len(rows))
        loss, accuracy = sums / len(rows)
        return float(loss), float(accuracy)

    def _evaluate(self) -> tuple[float, float, float]:
        """Validation loss and accuracy, calibrated, and the temperature that calibrates."""
        rows = self._rows[VAL]
        probabilities = np.concatenate(
            [
                self._model.predict_on_batch(self._store.read(batch).astype(np.float32))
                for batch in in_batches(rows, self._options.batch_size)
            ]
        )
        temperature = find_temperature(self._labels[rows], probabilities)
        calibrated = apply_temperature(probabilities, temperature)
        return *_loss_and_accuracy(self._labels[rows], calibrated), temperature

    def _make_optimizer(self) -> keras.optimizers.Optimizer:
        options = self._options
        n_steps = options.epochs * -(-len(self._rows[TRAIN]) // options.batch_size)
        n_warmup = max(1, round(options.warmup * n_steps))
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0,
            max(1, n_steps - n_warmup),
            alpha=0.01,
            warmup_target=options.learning_rate,
            warmup_steps=n_warmup,
        )
        optimizer = keras.optimizers.AdamW(
            schedule, weight_decay=options.weight_decay, global_clipnorm=1.0
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        return optimizer

    def _weigh_classes(self) -> np.ndarray:
        if self._options.class_weight is None:
            return np.ones(self._n_classes, np.float32)
        counts = np.bincount(self._labels[self._rows[TRAIN]], minlength=self._n_classes)
        return (counts.sum() / (self._n_classes * counts)).astype(np.float32)


def _soften(head: keras.Layer, temperature: float) -> None:
    """Divides a head's scores by a temperature, in the weights of its last layer."""
    layer = head.layers[-1] if isinstance(head, keras.Model) else head
    layer.set_weights([weights / temperature for weights in layer.get_weights()])


def _loss_and_accuracy(labels: np.ndarray, probabilities: np.ndarray) -> tuple[float, float]:
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return mean_log_loss(labels, probabilities), accuracy


def in_batches(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
