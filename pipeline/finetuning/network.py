"""The network that training runs: a frozen trunk below a top that learns, and one step of it."""

from typing import TypeAlias

import numpy as np
import tensorflow as tf

from pipeline.backbones.engines.device import N_HALVINGS, memory_errors
from pipeline.backbones.frost_lines import cut_between, split_at
from pipeline.backbones.keras_internals import flatten_layers
from pipeline.errors import RunError
from pipeline.finetuning.folded import fold
from pipeline.finetuning.optimizer import decay_factors, make_optimizer
from pipeline.finetuning.options import FinetuneOptions
from pipeline.finetuning.replicas import ONE_DEVICE, Replicas, Share
from pipeline.runs.scores import LEAST_PROBABILITY
from pipeline.system.keras_on_tensorflow import keras

# Of each trained variable; None where the loss does not depend on it.
Gradients: TypeAlias = list[tf.Tensor | None]


class TrunkAndTop(keras.Model):
    """The classifier with its frozen trunk in inference mode, whatever the top is in.

    Shares all layers with the classifier.

    Args:
        line: the frost line, or `all`.
        begins_at: the line at which inputs come in, this one or one below it, with what the trunk
            cache holds; None = inputs are pixels.
        is_folded: compute as a CPU does fastest, see `folded.py`.
    """

    def __init__(
        self,
        classifier: keras.Model,
        line: str,
        *,
        begins_at: str | None = None,
        is_folded: bool = False,
    ):
        super().__init__(name="trunk_and_top")
        self.preprocessing = classifier.get_layer("preprocessing")
        self.head = classifier.get_layer("head")
        self.takes_pixels = begins_at is None
        self.trunk, self.top = _cut(classifier.get_layer("backbone"), line, begins_at)
        # Methods, since Keras would count the weights of models that are attributes twice.
        run = (lambda part: fold(part).__call__) if is_folded else (lambda part: part.__call__)
        self._run_trunk = None if self.trunk is None else run(self.trunk)
        self._run_top = run(self.top)

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = self.preprocessing(inputs) if self.takes_pixels else inputs
        if self._run_trunk is not None:
            x = self._run_trunk(x, training=False)
        return self.head(self._run_top(x, training=training), training=training)


def _cut(
    backbone: keras.Model, line: str, begins_at: str | None
) -> tuple[keras.Model | None, keras.Model]:
    """What is frozen between the inputs and the line, None where that is nothing; and the top."""
    if line == "all":
        return None, backbone
    trunk, top = split_at(backbone, line)
    if begins_at is None:
        return trunk, top
    return None if begins_at == line else cut_between(backbone, begins_at, line), top


class Network:
    """A classifier in training: its step, its predictions, and the values that a step changes.

    A batch that does not fit the memory may be computed in `n_parts`, one after the other. Their
    gradients are summed before they are applied, so the update is the same but for rounding, and
    for what dropout draws.

    Args:
        classifier: thawed from `line` up; its weights are trained in place.
        line: the frost line, or `all`.
        begins_at: the line at which inputs come in, None = they are pixels.
    """

    def __init__(
        self,
        classifier: keras.Model,
        line: str,
        options: FinetuneOptions,
        *,
        begins_at: str | None = None,
        replicas: Replicas = ONE_DEVICE,
    ):
        self.n_parts = 1
        self._options = options
        self._replicas = replicas
        self.model = TrunkAndTop(
            classifier, line, begins_at=begins_at, is_folded=replicas.is_one_cpu
        )
        factors = decay_factors(classifier.get_layer("backbone"), line, options.layer_decay)
        with replicas.scope():
            self.optimizer = make_optimizer(options, factors)
            if _computes_in_float16(self.model):
                self.optimizer = keras.optimizers.LossScaleOptimizer(self.optimizer)
            self.optimizer.build(self.model.trainable_variables)
        self._run_step = tf.function(self._step_on_all, reduce_retracing=True)
        self._run_part = tf.function(self._part_on_all, reduce_retracing=True)
        self._run_sum = tf.function(self._sum_on_all)
        self._run_update = tf.function(self._update_on_all)
        self._run_prediction = tf.function(
            lambda inputs: self.model(inputs, training=False), reduce_retracing=True
        )
        # From the top of each part down: a seed gives the dropout that it always gave.
        parts = [part for part in (self.model.trunk, self.model.top) if part is not None]
        self._random_states = [
            state for part in parts for state in reversed(_find_random_states(part))
        ]

    def step(
        self, x: np.ndarray, y: np.ndarray, weights: np.ndarray, rate: float
    ) -> tuple[float, float]:
        """Trains on one batch.

        Args:
            x: float32 (n, height, width, channels).
            y: targets, float32 (n, n_classes).
            weights: of the images, float32 (n,).
            rate: the learning rate.

        Returns:
            The batch's loss without label smoothing and weights, and its accuracy.

        Raises:
            DeviceError: the device's memory is too small for the batch size.
        """
        self.optimizer.learning_rate = rate
        with memory_errors(self._part_size):
            x, y, weights = self._replicas.fill(x, y, weights)
            shares = (weights / len(x)).astype(np.float32)
            n_parts = min(self.n_parts, len(x) // self._replicas.n)
            if n_parts == 1:
                loss, n_right = self._run_step(*self._replicas.divide(x, y, shares))
            else:
                split = [np.array_split(values, n_parts) for values in (x, y, shares)]
                loss, n_right = self._step_in_parts(list(zip(*split, strict=True)))
            return float(loss) / len(x), float(n_right) / len(x)

    def halve(self) -> bool:
        """Computes batches in twice as many parts from now on; False where they are small enough
        to tell that this is of no use.
        """
        if self.n_parts >= 2**N_HALVINGS or self._part_size == 1:
            return False
        self.n_parts *= 2
        return True

    @property
    def _part_size(self) -> int:
        """Images of a part, at most."""
        return -(-self._options.batch_size // self.n_parts)

    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Probabilities, float32 (n, n_classes).

        Raises:
            DeviceError: the device's memory is too small for the batch size.
        """
        with memory_errors(self._part_size):
            parts = np.array_split(inputs, min(self.n_parts, len(inputs)))
            return np.concatenate([self._run_prediction(tf.constant(part)) for part in parts])

    def seed_dropout(self, *seeds: int) -> None:
        """Makes dropout depend on some numbers, not on what went before."""
        for number, state in enumerate(self._random_states):
            sequence = np.random.SeedSequence([*seeds, number])
            state.assign(sequence.generate_state(2))

    @property
    def weights(self) -> list[np.ndarray]:
        """Copies of what is trained."""
        return _values(self.model.trainable_variables)

    @weights.setter
    def weights(self, values: list[np.ndarray]) -> None:
        _assign(self.model.trainable_variables, values)

    @property
    def optimizer_state(self) -> list[np.ndarray]:
        """Copies of all that the optimizer remembers."""
        return _values(self.optimizer.variables)

    @optimizer_state.setter
    def optimizer_state(self, values: list[np.ndarray]) -> None:
        _assign(self.optimizer.variables, values)

    def take_averages(self) -> None:
        """Puts the moving averages of the weights in their place."""
        self.optimizer.finalize_variable_values(self.model.trainable_variables)

    def _step_in_parts(self, parts: list[tuple[np.ndarray, ...]]) -> np.ndarray:
        """The summed loss of all parts, and how many they got right."""
        sums = np.zeros(2)
        gradients = None
        for part in parts:
            shares = self._replicas.divide(*part)
            these, *found = self._run_part(*shares, tf.constant(1 / len(parts)))
            gradients = these if gradients is None else self._run_sum(gradients, these)
            sums += np.array([float(value) for value in found])
        self._run_update(gradients)
        return sums

    def _step_on_all(self, x: Share, y: Share, shares: Share) -> tuple[tf.Tensor, ...]:
        return self._replicas.sum(self._replicas.run(self._step_on_one, x, y, shares))

    def _part_on_all(self, x: Share, y: Share, shares: Share, part: tf.Tensor) -> tuple[Share, ...]:
        gradients, *found = self._replicas.run(self._find_gradients, x, y, shares, part)
        return gradients, *self._replicas.sum(tuple(found))

    def _sum_on_all(self, some: Share, others: Share) -> Share:
        return self._replicas.run(_add, some, others)

    def _update_on_all(self, gradients: Share) -> None:
        self._replicas.run(self._apply, gradients)

    def _apply(self, gradients: Gradients) -> None:
        self.optimizer.apply(gradients, self.model.trainable_variables)

    def _step_on_one(
        self, x: tf.Tensor, y: tf.Tensor, shares: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One device's part of a step; its summed loss, and how many it got right."""
        gradients, loss, n_right = self._find_gradients(x, y, shares)
        self._apply(gradients)
        return loss, n_right

    def _find_gradients(
        self, x: tf.Tensor, y: tf.Tensor, shares: tf.Tensor, part: tf.Tensor | float = 1.0
    ) -> tuple[Gradients, tf.Tensor, tf.Tensor]:
        """One device's gradients, its summed loss, and how many it got right.

        Args:
            shares: what each image counts for in the loss of the whole batch.
            part: of the step that this is, 0..1.
        """
        variables = self.model.trainable_variables
        smoothing = self._options.label_smoothing
        with tf.GradientTape() as tape:
            y_predicted = self.model(x, training=True)
            losses = _cross_entropy(y, y_predicted, label_smoothing=smoothing)
            loss = tf.reduce_sum(losses * shares)
            if self.model.losses:  # regularisation that a layer brings along
                loss += tf.add_n(self.model.losses) / self._replicas.n * part
            scaled = self.optimizer.scale_loss(loss)
        is_right = tf.equal(tf.argmax(y, axis=1), tf.argmax(y_predicted, axis=1))
        return (
            tape.gradient(scaled, variables),
            tf.reduce_sum(_report_losses(y, y_predicted)),
            tf.reduce_sum(tf.cast(is_right, tf.float32)),
        )


def _add(some: Gradients, others: Gradients) -> Gradients:
    return [None if a is None else a + b for a, b in zip(some, others, strict=True)]


_cross_entropy = keras.losses.categorical_crossentropy


def _report_losses(y: tf.Tensor, y_predicted: tf.Tensor) -> tf.Tensor:
    """Log-losses of single images, clipped by the rule of all that are reported.

    Keras's own is clipped at 16 nats, or not at all where it finds the scores below the softmax.
    """
    probabilities = tf.maximum(tf.cast(y_predicted, tf.float32), LEAST_PROBABILITY)
    return -tf.reduce_sum(tf.cast(y, tf.float32) * tf.math.log(probabilities), axis=1)


def _computes_in_float16(model: keras.Model) -> bool:
    """Whether gradients may be too small for the precision, so that the loss must be scaled."""
    return any(layer.compute_dtype == "float16" for layer in flatten_layers(model))


def _find_random_states(layer: keras.Layer) -> list[keras.Variable]:
    """What decides the random numbers that a layer and those inside it draw: two integers each."""
    weights = {id(weight) for weight in layer.weights}
    return [variable for variable in layer.variables if id(variable) not in weights]


def _values(variables: list[keras.Variable]) -> list[np.ndarray]:
    return [np.array(variable.numpy()) for variable in variables]


def _assign(variables: list[keras.Variable], values: list[np.ndarray]) -> None:
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [value.shape for value in values]:
        raise RunError(
            "This state of training belongs to another network or optimizer. Expected values for "
            f"{len(shapes)} variables, of the same shapes. Received: {len(values)} values\n"
            "Another version of Frostline wrote it; begin anew."
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
