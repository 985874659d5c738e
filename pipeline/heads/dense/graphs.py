"""The graphs of the dense head: a block of training steps, and prediction.

All steps of a block are one graph, so that no Python stands between them. Each graph is traced
once, when it is made for its model: TensorFlow warns of functions that are traced as they are
called, head after head.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from pipeline.backbones.keras_settings import keras_settings
from pipeline.heads.head import FeatureArray
from pipeline.heads.rows.training_rows import split_rows
from pipeline.system.keras_on_tensorflow import keras


def compile_predict(model: keras.Model) -> Callable[..., np.ndarray]:
    """A function of features, and of a mask to choose some rows, to float32 probabilities.

    It takes the rows block by block, so all that is sliced like an array will do.
    """
    signature = [tf.TensorSpec((None, model.input_shape[1]), tf.float32)]

    @tf.function(input_signature=signature, jit_compile=False)
    def call_model(rows: tf.Tensor) -> tf.Tensor:
        with keras_settings():
            return model(rows, training=False)

    predict_block = call_model.get_concrete_function()

    def predict(features: FeatureArray, chosen: np.ndarray | None = None) -> np.ndarray:
        blocks = []
        for block in split_rows(features):
            rows = features[block]
            if chosen is not None:
                rows = rows[chosen[block]]
            blocks.append(predict_block(tf.convert_to_tensor(rows, tf.float32)).numpy())
        return np.concatenate(blocks)

    return predict


def compile_steps(
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    class_weights: np.ndarray,
    *,
    label_smoothing: float,
    batch_size: int,
    random_state: int,
) -> Callable[[np.ndarray, np.ndarray], None]:
    """A function of a block's shuffled rows and their labels that trains on them, step by step.

    Steps of a block are of one size near `batch_size`; fewer rows than there are steps, others
    each time, sit an epoch out.

    Args:
        model: a chain of layers, `(n, n_features)` to `(n, n_classes)` probabilities.
        optimizer: built for the model's variables.
        class_weights: float64 `(n_classes,)`.
        label_smoothing: share of the target spread over all classes.
        batch_size: rows a step.
        random_state: decides what is dropped.
    """
    n_classes = len(class_weights)
    one_hot = np.eye(n_classes, dtype=np.float32)
    targets = tf.constant(one_hot * (1 - label_smoothing) + label_smoothing / n_classes)
    weights = tf.constant(class_weights, tf.float32)

    @tf.function(
        jit_compile=False,
        input_signature=[
            tf.TensorSpec((None, model.input_shape[1]), tf.float32),
            tf.TensorSpec((None,), tf.int32),
            tf.TensorSpec((), tf.int32),
            tf.TensorSpec((), tf.int32),
        ],
    )
    def take_steps(
        rows: tf.Tensor, labels: tf.Tensor, n_steps: tf.Tensor, rows_per_step: tf.Tensor
    ) -> None:
        for step in tf.range(n_steps):
            first = step * rows_per_step
            batch_labels = labels[first : first + rows_per_step]
            with tf.GradientTape() as tape:
                seed = tf.stack([tf.constant(random_state, tf.int64), optimizer.iterations.value])
                probabilities = call_in_training(model, rows[first : first + rows_per_step], seed)
                losses = keras.losses.categorical_crossentropy(
                    tf.gather(targets, batch_labels), probabilities
                )
                loss = tf.reduce_mean(losses * tf.gather(weights, batch_labels))
            optimizer.apply(tape.gradient(loss, model.trainable_variables))

    run_steps = take_steps.get_concrete_function()

    def train_block(rows: np.ndarray, labels: np.ndarray) -> None:
        n_steps = max(1, round(len(rows) / batch_size))
        numbers = (labels.astype(np.int32), np.int32(n_steps), np.int32(len(rows) // n_steps))
        run_steps(tf.convert_to_tensor(rows, tf.float32), *map(tf.convert_to_tensor, numbers))

    return train_block


def call_in_training(model: keras.Model, rows: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """The model with a dropout of its own: Keras's takes half of the time of a step.

    8 random bits decide on a number, so a rate is kept to 1/256.

    Args:
        model: a chain of layers.
        rows: float32 `(n, n_features)`.
        seed: int `(2,)`, another for each step.
    """
    x = rows
    for layer in model.layers[1:]:
        if isinstance(layer, keras.layers.Dropout):
            n_dropped = min(255, round(layer.rate * 256))
            draws = tf.random.stateless_uniform(
                [(tf.size(x) + 3) // 4], seed, minval=None, maxval=None, dtype=tf.int32
            )
            draws = tf.reshape(tf.bitcast(draws, tf.uint8), [-1])[: tf.size(x)]
            is_kept = tf.reshape(draws, tf.shape(x)) >= n_dropped
            x = tf.where(is_kept, x * (256 / (256 - n_dropped)), 0.0)
        else:
            x = layer(x)
    return x
