"""Where the trainings of a search run: one model, put back to the frozen head before each."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from pipeline.finetuning.callbacks import NO_CALLBACKS, Callbacks
from pipeline.finetuning.checkpoint import State
from pipeline.finetuning.inputs import Inputs
from pipeline.finetuning.judge_epochs import score, score_validation
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.replicas import Replicas
from pipeline.finetuning.search.divisions import Division
from pipeline.finetuning.search.trials import Trial, judge
from pipeline.finetuning.thawed import thaw_classifier
from pipeline.finetuning.training import Training
from pipeline.finetuning.watch import Watch
from pipeline.images.splits import VAL
from pipeline.runs.searched_settings import Setting
from pipeline.system.keras_on_tensorflow import keras


@dataclass(frozen=True)
class Bench:
    """A model and its images, on which one setting after another is trained.

    Args:
        model: the classifier as its head was fitted.
        class_weights: float (n_classes,), None for 1 each.
        weights: of the whole model, as it was.
    """

    model: keras.Model
    class_weights: np.ndarray | None
    replicas: Replicas
    watch: Watch
    weights: list[np.ndarray]

    def train(
        self,
        inputs: Inputs,
        begins_at: str | None,
        division: Division,
        line: str,
        options: FinetuneOptions,
        state: State,
        on_state: Callable[[State], None],
        callbacks: Callbacks | None = None,
        *,
        goes_part_way: bool = False,
    ) -> Training:
        """Trains from the frozen head on, or from a state; the last epoch's weights are kept if
        they beat the head, and are in the model then.

        Args:
            begins_at: the line at which inputs come in, None = they are pixels.
            callbacks: people's own; None for a training that neither they nor TensorBoard hear of.
            goes_part_way: look for weights between the frozen head and the last epoch, if need be.
        """
        if not state.history:
            state.used_trunk_cache = begins_at is not None
        self._begin_anew(division, line)
        training = Training(
            self.model,
            line,
            inputs,
            division.before,
            options,
            begins_at=begins_at,
            class_weights=self.class_weights,
            replicas=self.replicas,
            state=state,
            watch=replace(self.watch, events=None) if callbacks is None else self.watch,
            on_state=on_state,
            callbacks=callbacks or NO_CALLBACKS,
            goes_part_way=goes_part_way,
        )
        training.run()
        return training

    def _begin_anew(self, division: Division, line: str) -> None:
        self.model.set_weights(self.weights)
        if division.head is not None:
            self.model.get_layer("head").set_weights(division.head.to_keras().get_weights())
        thaw_classifier(self.model, line)


def report_trial(
    division: Division, training: Training, numbers: tuple[int, int, int], values: Setting
) -> Trial:
    """What a training came to.

    Args:
        numbers: of the round, of the setting and of the repeat.
    """
    before = division.before
    images = np.flatnonzero(before.splits == VAL)
    labels = before.labels[images]
    frozen = score_validation(before)
    tuned = frozen if training.said is None else score(labels, training.said)
    state = training.state
    return Trial(
        round=numbers[0],
        setting=numbers[1],
        repeat=numbers[2],
        values=values,
        epochs=state.epoch,
        n_images=len(images),
        accuracy=tuned.accuracy,
        log_loss=tuned.calibrated_loss,
        frozen_accuracy=frozen.accuracy,
        frozen_log_loss=frozen.calibrated_loss,
        seconds=sum(record["seconds"] for record in state.history),
        images=images,
        tuned=judge(labels, tuned),
        frozen=judge(labels, frozen),
    )
