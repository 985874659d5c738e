"""The epochs of fine-tuning: train the thawed top, keep the best epoch, leave it in the model.

Epoch 0 is the frozen head. The last epoch wins if it beats epoch 0 (`judge_epochs.py`); with
`keep="best"` the one with the lowest calibrated validation loss among those that do. If none does,
weights part of the way to the last may (`interpolate.py`), and else the head stays exactly as it
was.
Each epoch depends on nothing but the state after the one before, so that it can be resumed.
"""

import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from pipeline.errors import DeviceError
from pipeline.finetuning.blend import Blend, Joined, join
from pipeline.finetuning.callbacks import NO_CALLBACKS, Callbacks
from pipeline.finetuning.checkpoint import State
from pipeline.finetuning.epoch_passes import EpochPasses
from pipeline.finetuning.inputs import Inputs
from pipeline.finetuning.interpolate import find_between
from pipeline.finetuning.judge_epochs import (
    MAX_DIVERGENCES,
    RATE_AFTER_DIVERGENCE,
    DivergedError,
    Scores,
    beats,
    require_finite,
    require_sense,
    score,
    score_validation,
)
from pipeline.finetuning.learning_rate_sweep import choose_rate
from pipeline.finetuning.network import Network
from pipeline.finetuning.options import BEST, LAST, FinetuneOptions
from pipeline.finetuning.replicas import ONE_DEVICE, Replicas
from pipeline.finetuning.watch import NOBODY, Watch
from pipeline.images.splits import TRAIN, VAL
from pipeline.runs.calibration import soften
from pipeline.runs.predictions import Predictions
from pipeline.runs.scores import mean_log_loss
from pipeline.system.keras_on_tensorflow import keras

T = TypeVar("T")


class Training:
    """The epochs: runs them, keeps the best, and leaves its weights in the classifier.

    Args:
        classifier: thawed from `line` up.
        line: the frost line, or `all`.
        before: the frozen head's predictions, labels and splits.
        begins_at: the line at which inputs come in, rows of the trunk cache; None = pixels.
        class_weights: float (n_classes,); None for 1 each.
        state: to go on from; None to begin.
        on_state: called with the state after each epoch, to be kept.
        callbacks: people's own.
        goes_part_way: where the last epoch does not beat the frozen head, look for weights between.
    """

    def __init__(
        self,
        classifier: keras.Model,
        line: str,
        inputs: Inputs,
        before: Predictions,
        options: FinetuneOptions,
        *,
        begins_at: str | None = None,
        class_weights: np.ndarray | None = None,
        replicas: Replicas = ONE_DEVICE,
        state: State | None = None,
        watch: Watch = NOBODY,
        on_state: Callable[[State], None] = lambda state: None,
        callbacks: Callbacks = NO_CALLBACKS,
        goes_part_way: bool = True,
    ):
        self.state = state or State()
        options = options.settle_average(int((before.splits == TRAIN).sum()))
        self._options = options
        self._before = before
        self._frozen = score_validation(before)
        self._watch = watch
        self._on_state = on_state
        self._classifier = classifier
        self._callbacks = callbacks
        self._goes_part_way = goes_part_way and options.keep == LAST
        self._joined: Joined | None = None
        self._kept_history: list[dict] = []
        self._network = Network(classifier, line, options, begins_at=begins_at, replicas=replicas)
        self._network.n_parts = self.state.n_parts
        self._frozen_weights = self._network.weights
        self._passes = EpochPasses(
            self._network, inputs, before, options, class_weights, watch.on_progress, callbacks
        )

    @property
    def history(self) -> list[dict[str, float]]:
        return self.state.history

    @property
    def best_epoch(self) -> int:
        return self.state.best_epoch

    @property
    def last_epoch(self) -> int:
        return self.state.history[-1]["epoch"]

    def run(self) -> None:
        """Trains. A batch that does not fit the device's memory is computed in two parts, or in
        four; whatever was begun then begins anew.

        Raises:
            DeviceError: the device's memory is too small for a quarter of the batch.
        """
        if self.state.history:
            self._take_up()
        else:
            self.begin()
        self._call_back(self._begin_callbacks)
        while not self.state.is_over and self.state.epoch < self._options.epochs:
            self.run_epoch(self.state.epoch + 1)
        self._call_back(lambda: self._callbacks.end(self.history[-1]))
        if self.state.n_blended and self.state.epoch:
            self._take_blend()
        if self._goes_part_way and self.state.epoch and not self.state.best_epoch:
            self._go_part_of_the_way()
        self._network.weights = self.state.best_weights
        soften(self._network.model.head, self.state.best_temperature)

    def begin(self) -> None:
        """Records the frozen head as epoch 0, and finds the rate if that is asked for."""
        self._record_frozen_head()
        self._keep()
        self.state.best_weights = self.state.weights
        if self._options.find_learning_rate:
            self._find_learning_rate()
        self._on_state(self.state)

    def run_epoch(self, epoch: int) -> None:
        """Trains one epoch, takes what it came to into the state, and has that kept."""
        started = time.perf_counter()
        self._call_back(lambda: self._callbacks.begin_epoch(epoch))
        try:
            trained, raw, scores = self._make_room(lambda: self._train_and_score(epoch))
        except DivergedError as diverged:
            self._step_back(epoch, str(diverged))
            self._on_state(self.state)
            return
        self._record(epoch, *trained, scores, started)
        self.state.said = [scores.probabilities]
        self._take_winner(epoch, scores)
        judged = self._network.weights if self._callbacks else []
        if self._options.average_weights:
            self._network.weights = raw
        self.state.epoch = epoch
        self._keep()
        self._on_state(self.state)
        self._end_epoch_of_callbacks(judged)

    def _begin_callbacks(self) -> None:
        self._callbacks.begin(
            self._classifier, n_epochs=self._options.epochs, n_batches=self._passes.n_batches
        )

    def _end_epoch_of_callbacks(self, judged: list[np.ndarray]) -> None:
        """Called when the epoch is kept: a callback that raises loses none.

        Args:
            judged: the weights that validation was scored with.
        """
        if not self._callbacks:
            return
        self._network.weights = judged
        self._call_back(lambda: self._callbacks.end_epoch(self.history[-1]))
        if self._classifier.stop_training and not self.state.is_over:
            self.state.is_over = True
            self._note(f"A callback ended training after epoch {self.state.epoch}.")
            self._on_state(self.state)

    def _call_back(self, work: Callable[[], None]) -> None:
        """Calls callbacks; whatever they do to the weights that train is undone."""
        if self._callbacks:
            work()
            self._take_up()

    def _train_and_score(
        self, epoch: int
    ) -> tuple[tuple[float, float, float], list[np.ndarray], Scores]:
        """Loss, accuracy and last rate of training, the weights, and their scores; the network has
        their averages where those are wanted.
        """
        trained = self._passes.train(epoch, self._greatest_rate())
        raw = self._network.weights
        require_finite(raw)
        if self._options.average_weights:
            self._network.take_averages()
        scores = self._passes.evaluate()
        require_sense(scores, self._frozen, self._passes.n_classes)
        return trained, raw, scores

    def _make_room(self, work: Callable[[], T]) -> T:
        """What `work` returns; it begins anew, from the state, with smaller parts of a batch where
        these do not fit the device's memory.
        """
        while True:
            try:
                return work()
            except DeviceError:
                if not self._network.halve():
                    raise
            self._take_up()
            self.state.n_parts = self._network.n_parts
            self._note(
                f"A batch of {self._options.batch_size} images does not fit the device's memory: "
                f"each step computes it in {self.state.n_parts} parts, one after the other, and "
                "makes one update of all."
            )

    def _take_winner(self, epoch: int, scores: Scores) -> None:
        """Keeps the weights if they are the best so far; ends training after too many others."""
        state = self.state
        if self._options.keep == LAST:
            state.best_epoch, state.best_temperature = 0, 1.0
            state.best_weights = self._frozen_weights
        is_better = beats(scores.accuracy, scores.calibrated_loss, self._frozen)
        if is_better and scores.calibrated_loss < state.history[state.best_epoch]["val_loss"]:
            state.best_epoch, state.best_temperature = epoch, scores.temperature
            state.best_weights = self._network.weights
        elif self._options.keep == BEST and epoch - state.best_epoch >= self._options.patience:
            state.is_over = True

    @property
    def kept_history(self) -> list[dict]:
        """That of the training whose weights are kept, or joined the mean last."""
        return self._kept_history or self.state.history

    @property
    def said(self) -> np.ndarray | None:
        """What the mean of the trainings, or the last epoch, says of the validation images,
        (n_images, n_classes); None before the first epoch.
        """
        if self._joined is not None:
            return self._joined.blend.said
        return self.state.said[0] if self.state.said else None

    def blend(self) -> Blend:
        """The mean of the weights of the trainings so far, this one among them if it is better
        with its last.
        """
        if self._joined is not None:
            return self._joined.blend
        if self.state.n_blended:
            return self._blended_before
        return self._last_alone

    @property
    def _last_alone(self) -> Blend:
        said = self.state.said or [self._frozen.probabilities]  # where no epoch was finished
        return Blend(self._find_last_weights(), 1, self.state.history, said[0])

    @property
    def _blended_before(self) -> Blend:
        state = self.state
        (said,) = state.blended_said
        return Blend(state.blended, state.n_blended, state.blended_history, said)

    def _take_blend(self) -> None:
        """Takes the mean of several trainings' weights, if that beats the frozen head."""
        state, before = self.state, self._blended_before
        labels = self._before.labels[self._before.splits == VAL]
        if state.epoch < self._options.epochs:  # cut short, so it does not count beside others
            joined = Joined(before, score(labels, before.said))
        else:
            joined = join(before, self._last_alone, labels, self._judge)
        self._joined, scores = joined, joined.scores
        if beats(scores.accuracy, scores.calibrated_loss, self._frozen):
            state.best_epoch = joined.blend.history[-1]["epoch"]
            state.best_temperature = scores.temperature
            state.best_weights, state.n_averaged = joined.blend.weights, joined.blend.n_trainings
            self._kept_history = joined.blend.history
            self._note(f"{joined.describe()}: kept.")
        else:
            self._note(f"{joined.describe()}: not kept, as the frozen head is not beaten.")

    def _find_last_weights(self) -> list[np.ndarray]:
        """Those after the last epoch, averaged where that is wanted."""
        self._take_up()
        if self._options.average_weights:
            self._network.take_averages()
        return self._network.weights

    def _go_part_of_the_way(self) -> None:
        """Where the last epoch does not beat the frozen head, weights between the two may."""
        state = self.state
        last = self._find_last_weights()
        found = find_between(self._frozen_weights, last, self._frozen, self._judge)
        if found is not None:
            state.part, state.best_weights = found.part, found.weights
            state.best_epoch, state.best_temperature = state.epoch, found.scores.temperature
            self._note(found.describe(state.epoch))
            self._on_state(state)

    def _judge(self, weights: list[np.ndarray]) -> Scores:
        """Scores some weights, which whoever makes room takes away."""

        def score() -> Scores:
            self._network.weights = weights
            return self._passes.evaluate()

        return self._make_room(score)

    def _keep(self) -> None:
        self.state.weights = self._network.weights
        self.state.optimizer = self._network.optimizer_state

    def _take_up(self) -> None:
        """Puts the state's weights into network and optimizer."""
        self._network.weights = self.state.weights
        self._network.optimizer_state = self.state.optimizer

    def _step_back(self, epoch: int, what: str) -> None:
        """Takes up the last good weights with a lower rate, or gives up."""
        state = self.state
        state.n_divergences += 1
        self._take_up()
        if state.n_divergences > MAX_DIVERGENCES:
            state.is_over = True
            action = f"training stopped after epoch {state.epoch}, the last good one"
        else:
            state.rate_factor *= RATE_AFTER_DIVERGENCE
            action = (
                f"the weights after epoch {epoch - 1} were taken up again and the learning rate "
                f"lowered to {self._greatest_rate():.2g}"
            )
        self._note(f"Epoch {epoch} diverged ({what}): {action}.")

    def _note(self, note: str) -> None:
        self.state.notes.append(note)
        self._watch.on_note(note)

    def _greatest_rate(self) -> float:
        return (self.state.learning_rate or self._options.learning_rate) * self.state.rate_factor

    def _record_frozen_head(self) -> None:
        started = time.perf_counter()
        rows = self._before.splits == TRAIN
        labels, probabilities = self._before.labels[rows], self._before.probabilities[rows]
        loss = mean_log_loss(labels, probabilities)
        accuracy = float((probabilities.argmax(axis=1) == labels).mean())
        self._record(0, loss, accuracy, 0.0, self._frozen, started)

    def _record(
        self,
        epoch: int,
        train_loss: float,
        train_accuracy: float,
        rate: float,
        scores: Scores,
        started: float,
    ) -> None:
        record = {
            "epoch": epoch,
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            "val_loss": scores.calibrated_loss,
            "val_accuracy": scores.accuracy,
            "val_loss_uncalibrated": scores.loss,
            "temperature": scores.temperature,
            "learning_rate": rate,
            "seconds": time.perf_counter() - started,
        }
        self.state.history.append(record)
        self._watch.tell_epoch(record)

    def _find_learning_rate(self) -> None:
        """Sweeps the rate, puts everything back, and goes on with the rate found."""
        state = self.state
        state.sweep = self._make_room(self._passes.sweep_rates)
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
