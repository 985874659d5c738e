"""The epochs of fine-tuning: train the thawed top, keep the best epoch, leave it in the model.

Epoch 0 is the frozen head. The epoch that wins has the lowest calibrated validation loss among
those that beat epoch 0 (`winner.py`); if none does, the head stays exactly as it was.
Each epoch depends on nothing but the state after the one before, so that it can be resumed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from pipeline.backbones.engines.device import memory_errors
from pipeline.finetuning.checkpoint import State
from pipeline.finetuning.divergence import (
    MAX_DIVERGENCES,
    RATE_AFTER_DIVERGENCE,
    DivergedError,
    require_bounded,
    require_sense,
)
from pipeline.finetuning.inputs import Inputs
from pipeline.finetuning.learning_rate_sweep import choose_rate, sweep_rates
from pipeline.finetuning.optimizer import decay_factors, learning_rate_at, make_optimizer
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.replicas import ONE_DEVICE, Replicas
from pipeline.finetuning.trunk_and_top import TrunkAndTop
from pipeline.finetuning.winner import Scores, beats, score, score_validation
from pipeline.images.splits import TRAIN, VAL
from pipeline.runs.calibration import soften
from pipeline.runs.records import Predictions
from pipeline.runs.scores import mean_log_loss
from pipeline.system.parallel import map_batches


@dataclass(frozen=True)
class Hooks:
    """Who wants to know, and when: progress, an epoch's record, a note, the state to keep."""

    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None
    on_epoch: Callable[[dict], None] = lambda record: None
    on_note: Callable[[str], None] = lambda note: None
    on_state: Callable[[State], None] = lambda state: None


class Training:
    """The epochs: runs them, keeps the best, and leaves its weights in the classifier.

    Args:
        classifier: thawed from `line` up.
        before: the frozen head's predictions, labels and splits.
        state: to go on from; None to begin.
    """

    def __init__(
        self,
        classifier: keras.Model,
        line: str,
        inputs: Inputs,
        before: Predictions,
        options: FinetuneOptions,
        *,
        from_line: bool = False,
        class_weights: np.ndarray | None = None,
        replicas: Replicas = ONE_DEVICE,
        state: State | None = None,
        hooks: Hooks = Hooks(),
    ):
        self.state = state or State()
        self._options = options
        self._inputs = inputs
        self._before = before
        self._frozen = score_validation(before)
        self._labels = before.labels
        self._rows = {split: np.flatnonzero(before.splits == split) for split in (TRAIN, VAL)}
        self._n_classes = before.probabilities.shape[1]
        self._hooks = hooks
        self._last_rate = 0.0
        self._replicas = replicas
        self._weight_of_class = (
            np.ones(self._n_classes) if class_weights is None else class_weights
        ).astype(np.float32)
        self._model = TrunkAndTop(classifier, line, from_line=from_line)
        self._optimizer = make_optimizer(
            options, decay_factors(classifier.get_layer("backbone"), line, options.layer_decay)
        )
        self._build()

    @property
    def history(self) -> list[dict]:
        return self.state.history

    @property
    def best_epoch(self) -> int:
        return self.state.best_epoch

    @property
    def last_epoch(self) -> int:
        return self.state.history[-1]["epoch"]

    def run(self) -> None:
        """Trains.

        Raises:
            DeviceError: the device's memory is too small for the batch size.
        """
        if self.state.history:
            self._take_up()
        else:
            self._record_frozen_head()
            self._keep()
            self.state.best_weights = self.state.weights
            if self._options.find_learning_rate:
                self._find_learning_rate()
            self._hooks.on_state(self.state)
        while not self.state.is_over and self.state.epoch < self._options.epochs:
            self._run_epoch(self.state.epoch + 1)
            self._hooks.on_state(self.state)
        _assign(self._model.trainable_variables, self.state.best_weights)
        soften(self._model.head, self.state.best_temperature)

    def _build(self) -> None:
        options = self._options
        with self._replicas.scope():
            example = tf.constant(self._inputs.plain(self._rows[VAL][:1]))
            self._model(example)
            optimizer = self._optimizer
            if _computes_in_float16(self._model):
                optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
            self._model.compile(
                optimizer=optimizer,
                loss=keras.losses.CategoricalCrossentropy(label_smoothing=options.label_smoothing),
                # The loss without label smoothing, so that it compares with validation's.
                metrics=["accuracy", keras.metrics.CategoricalCrossentropy(name="plain_loss")],
                jit_compile=False,
                auto_scale_loss=False,
            )
            optimizer.build(self._model.trainable_variables)
            # As Keras does before its first step: metrics must not be made inside of it.
            target = tf.one_hot([0], self._n_classes)
            self._model._maybe_symbolic_build(data_batch=(example, target, tf.ones(1)))
        self._model.make_train_function()
        self._predict = tf.function(
            lambda inputs: self._model(inputs, training=False), reduce_retracing=True
        )
        self._seeds = [
            generator.state
            for layer in self._model._flatten_layers()
            for generator in layer._seed_generators
        ]

    def _run_epoch(self, epoch: int) -> None:
        started = time.perf_counter()
        try:
            train_loss, train_accuracy = self._train_epoch(epoch)
            raw = self._take_averages()
            scores = self._evaluate()
            require_sense(
                scores.calibrated_loss, scores.accuracy, self._frozen.accuracy, self._n_classes
            )
        except DivergedError as diverged:
            self._step_back(epoch, str(diverged))
            return
        self._record(epoch, train_loss, train_accuracy, scores, started)
        state = self.state
        is_better = beats(scores.accuracy, scores.calibrated_loss, self._frozen)
        if is_better and scores.calibrated_loss < state.history[state.best_epoch]["val_loss"]:
            state.best_epoch, state.best_temperature = epoch, scores.temperature
            state.best_weights = _values(self._model.trainable_variables)
        elif epoch - state.best_epoch >= self._options.patience:
            state.is_over = True
        if raw is not None:
            _assign(self._model.trainable_variables, raw)
        state.epoch = epoch
        self._keep()

    def _keep(self) -> None:
        self.state.weights = _values(self._model.trainable_variables)
        self.state.optimizer = _values(self._model.optimizer.variables)

    def _take_up(self) -> None:
        """Puts the state's weights into model and optimizer."""
        _assign(self._model.trainable_variables, self.state.weights)
        _assign(self._model.optimizer.variables, self.state.optimizer)

    def _step_back(self, epoch: int, what: str) -> None:
        """Takes up the last good weights with a lower rate, or gives up."""
        state = self.state
        state.n_divergences += 1
        self._take_up()
        if state.n_divergences > MAX_DIVERGENCES:
            state.is_over = True
            action = f"training stopped and epoch {state.best_epoch}, the best before, was taken"
        else:
            state.rate_factor *= RATE_AFTER_DIVERGENCE
            action = (
                f"the weights after epoch {epoch - 1} were taken up again and the learning rate "
                f"lowered to {self._greatest_rate() * state.rate_factor:.2g}"
            )
        self._note(f"Epoch {epoch} diverged ({what}): {action}.")

    def _note(self, note: str) -> None:
        self.state.notes.append(note)
        self._hooks.on_note(note)

    def _greatest_rate(self) -> float:
        return self.state.learning_rate or self._options.learning_rate

    def _record_frozen_head(self) -> None:
        started = time.perf_counter()
        rows = self._rows[TRAIN]
        labels, probabilities = self._labels[rows], self._before.probabilities[rows]
        loss = mean_log_loss(labels, probabilities)
        accuracy = float((probabilities.argmax(axis=1) == labels).mean())
        self._record(0, loss, accuracy, self._frozen, started)

    def _record(
        self, epoch: int, train_loss: float, train_accuracy: float, scores: Scores, started: float
    ) -> None:
        record = {
            "epoch": epoch,
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            "val_loss": scores.calibrated_loss,
            "val_accuracy": scores.accuracy,
            "val_loss_uncalibrated": scores.loss,
            "temperature": scores.temperature,
            "learning_rate": self._last_rate,
            "seconds": time.perf_counter() - started,
        }
        self.state.history.append(record)
        self._hooks.on_epoch(record)

    def _train_epoch(self, epoch: int) -> tuple[float, float]:
        """One pass over the training images; its mean loss and accuracy, augmented as they are."""
        self._seed_layers(epoch)
        n_rows = len(self._rows[TRAIN])
        n_per_epoch = -(-n_rows // self._options.batch_size)
        sums, done, losses = np.zeros(2), 0, []
        for number, n, batch in self._batches(epoch):
            rate = learning_rate_at(
                (epoch - 1) * n_per_epoch + number,
                self._options.epochs * n_per_epoch,
                self._greatest_rate() * self.state.rate_factor,
                self._options.warmup,
            )
            loss, accuracy = self._step(batch, rate)
            losses.append(loss)
            require_bounded(losses, self._n_classes)
            sums += np.array([loss, accuracy]) * n
            done += n
            self._hooks.on_progress(f"Epoch {epoch}", done, n_rows)
        loss, accuracy = sums / n_rows
        return float(loss), float(accuracy)

    def _batches(self, epoch: int):
        """(number, images, (inputs, targets, weights)) of each batch, made ahead in a thread."""
        order = np.random.default_rng([self._options.seed, epoch]).permutation(self._rows[TRAIN])
        one_hot = np.eye(self._n_classes, dtype=np.float32)

        def make(task):
            number, rows = task
            labels = self._labels[rows]
            x, y = self._inputs.train(rows, one_hot[labels], epoch, number)
            return number, len(rows), (x, y, self._weight_of_class[labels])

        return map_batches(make, enumerate(in_batches(order, self._options.batch_size)), 1)

    def _step(self, batch: tuple, rate: float) -> tuple[float, float]:
        """One step; its loss without label smoothing, and accuracy."""
        self._optimizer.learning_rate = self._last_rate = rate
        self._model.reset_metrics()
        with memory_errors(self._options.batch_size):
            self._model.train_function(iter([self._replicas.divide(*batch)]))
        # Not what the function returns: that is a mean over devices, however uneven their shares.
        metrics = self._model.get_metrics_result()
        return float(metrics["plain_loss"]), float(metrics["accuracy"])

    def _seed_layers(self, epoch: int) -> None:
        """Dropout depends on (seed, epoch), not on what went before."""
        for number, state in enumerate(self._seeds):
            sequence = np.random.SeedSequence([self._options.seed, epoch, number])
            state.assign(sequence.generate_state(2))

    def _take_averages(self) -> list[np.ndarray] | None:
        """Puts the moving averages into the model; returns what was there, None if there are none.

        Raises:
            DivergedError: the weights are not finite.
        """
        raw = _values(self._model.trainable_variables)
        if not all(np.isfinite(value).all() for value in raw):
            raise DivergedError("weights are not finite")
        if not self._options.average_weights:
            return None
        _assign(
            self._model.trainable_variables,
            _values(self._optimizer._model_variables_moving_average),
        )
        return raw

    def _evaluate(self) -> Scores:
        """Scores the validation images; the next batch is made ready while one is predicted."""
        rows = self._rows[VAL]
        batches = map_batches(self._inputs.plain, in_batches(rows, self._options.batch_size), 1)
        with memory_errors(self._options.batch_size):
            parts = [self._predict(tf.constant(batch)).numpy() for batch in batches]
        return score(self._labels[rows], np.concatenate(parts))

    def _find_learning_rate(self) -> None:
        """Sweeps the rate, puts everything back, and goes on with the rate found."""
        state = self.state
        self._seed_layers(0)
        state.sweep = sweep_rates(self._sweep_batches(), self._step, self._hooks.on_progress)
        self._take_up()
        state.learning_rate = choose_rate(state.sweep)
        if state.learning_rate is None:
            self._note(
                "The sweep of the learning rate shows no clear fall of the loss; the rate stays "
                f"{self._options.learning_rate:g}."
            )
        else:
            self._note(
                f"The sweep found a learning rate of {state.learning_rate:.2g}: the loss falls "
                "steepest there, and it is a tenth or less of where it rises again."
            )

    def _sweep_batches(self):
        """Batches of further and further epochs that are not trained on."""
        epoch = self._options.epochs
        while True:
            epoch += 1
            for _, _, batch in self._batches(epoch):
                yield batch


def _computes_in_float16(model: keras.Model) -> bool:
    """Whether gradients may be too small for the precision, so that the loss must be scaled."""
    return any(layer.compute_dtype == "float16" for layer in model._flatten_layers())


def _values(variables: list) -> list[np.ndarray]:
    return [np.array(variable.numpy()) for variable in variables]


def _assign(variables: list, values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def in_batches(rows: np.ndarray, batch_size: int) -> list[np.ndarray]:
    return [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
