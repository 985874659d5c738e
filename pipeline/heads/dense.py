"""The dense head: a small Keras network on features in memory, trained by compiled epochs.

A whole epoch is one graph, so that no Python stands between the steps; losses of train and
validation rows are both measured in inference mode, so that their curves can be compared.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from pipeline.errors import RunError
from pipeline.heads.keras_file import load_keras_model_safely
from pipeline.heads.training_rows import LEAST_RELATIVE_SPREAD, check_rows
from pipeline.metrics import mean_log_loss

ROWS_PER_BLOCK = 4096


@dataclass(frozen=True)
class DenseFit:
    """A fitted dense head and how it got there.

    Args:
        model: Keras model `head`: float32 `(n, n_features)` to `(n, n_classes)` probabilities,
            with the weights of the best epoch.
        history: one dict per epoch: `epoch` (0 is before the first step), `train_loss`,
            `train_accuracy`, `val_loss`, `val_accuracy` (log-loss in nats and 0..1, inference
            mode), `learning_rate`, `seconds` (this epoch's).
        best_epoch: the epoch with the lowest validation loss.
    """

    model: keras.Model
    history: list[dict]
    best_epoch: int


def fit_dense_head(
    features: np.ndarray,
    labels: np.ndarray,
    is_train: np.ndarray,
    is_val: np.ndarray,
    class_names,
    *,
    hidden_units: int = 0,
    dropout: float = 0.5,
    learning_rate: float = 3e-4,
    weight_decay: float = 1e-2,
    batch_size: int = 64,
    epochs: int = 200,
    patience: int = 10,
    class_weight: str | None = None,
    label_smoothing: float = 0.0,
    random_state: int = 0,
    on_epoch: Callable[[dict], None] | None = None,
) -> DenseFit:
    """Fits a dense head with AdamW and keeps the epoch with the lowest validation loss.

    Args:
        features: float32 `(n_samples, n_features)`, of any scale.
        labels: int `(n_samples,)`, indices into `class_names`.
        is_train: bool `(n_samples,)`, the rows to fit.
        is_val: bool `(n_samples,)`, the rows that choose the epoch.
        class_names: sequence of `n_classes` names.
        hidden_units: width of a hidden ReLU layer; 0 for none.
        dropout: share of the last layer's inputs dropped while training, 0 to below 1.
        learning_rate: AdamW's.
        weight_decay: AdamW's, on kernels only.
        batch_size: rows a step.
        epochs: at most so many.
        patience: stop after so many epochs without a lower validation loss.
        class_weight: `"balanced"` weighs classes by the inverse of their frequency.
        label_smoothing: share of the target spread over all classes, 0 to below 1.
        random_state: decides initial weights, order of rows and dropout.
        on_epoch: called with each epoch's record.

    Returns:
        The `DenseFit`.

    Raises:
        SplitError: fewer than two classes, a class without train rows, or no validation rows.
        FeatureFileError: a feature is not finite.
        ValueError: a parameter out of range.
    """
    check_rows(features, labels, is_train, is_val, class_names)
    _check_parameters(
        hidden_units=(hidden_units, 0, np.inf),
        dropout=(dropout, 0, 1),
        learning_rate=(learning_rate, np.finfo(np.float32).tiny, np.inf),
        weight_decay=(weight_decay, 0, np.inf),
        batch_size=(batch_size, 1, np.inf),
        epochs=(epochs, 0, np.inf),
        patience=(patience, 1, np.inf),
        label_smoothing=(label_smoothing, 0, 1),
    )
    n_classes = len(class_names)
    train_rows = np.asarray(features[is_train], np.float32)
    val_rows = np.asarray(features[is_val], np.float32)
    train_labels, val_labels = labels[is_train], labels[is_val]
    model = build_dense_head(
        train_rows, n_classes, hidden_units=hidden_units, dropout=dropout, random_state=random_state
    )
    optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build(model.trainable_variables)
    one_hot = np.eye(n_classes, dtype=np.float32)[train_labels]
    run_epoch = _compile_epoch(
        model,
        optimizer,
        train_rows,
        targets=one_hot * (1 - label_smoothing) + label_smoothing / n_classes,
        weights=_sample_weights(train_labels, n_classes, class_weight),
    )
    predict = _compile_predict(model)

    random = np.random.default_rng(random_state)
    history, best, best_weights = [], 0, None
    for epoch in range(epochs + 1):
        start = time.perf_counter()
        if epoch:
            run_epoch(tf.constant(_draw_batches(random, len(train_rows), batch_size)))
        train_loss, train_accuracy = _score(predict, train_rows, train_labels)
        val_loss, val_accuracy = _score(predict, val_rows, val_labels)
        record = {
            "epoch": epoch,
            "train_loss": train_loss,
            "train_accuracy": train_accuracy,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
            "learning_rate": learning_rate,
            "seconds": time.perf_counter() - start,
        }
        history.append(record)
        if on_epoch:
            on_epoch(record)
        if best_weights is None or val_loss < history[best]["val_loss"]:
            best, best_weights = epoch, model.get_weights()
        elif epoch - best >= patience:
            break
    model.set_weights(best_weights)
    return DenseFit(model=model, history=history, best_epoch=best)


def build_dense_head(
    train_rows: np.ndarray,
    n_classes: int,
    *,
    hidden_units: int = 0,
    dropout: float = 0.5,
    random_state: int = 0,
) -> keras.Model:
    """Builds an untrained head, all in float32; it gives every class the same probability.

    Args:
        train_rows: float32 `(n_rows, n_features)`, from which mean and variance are taken.
        n_classes: how many classes.
        hidden_units: width of a hidden ReLU layer; 0 for none.
        dropout: share of the last layer's inputs dropped while training.
        random_state: decides initial weights and dropout.

    Returns:
        Keras model `head`: `(n, n_features)` to `(n, n_classes)` probabilities.
    """
    mean = train_rows.mean(axis=0, dtype=np.float64)
    spread = np.sqrt(train_rows.var(axis=0, dtype=np.float64))
    # Normalization divides by at least 1e-7, so features go near 1 first, by an exact power of 2.
    unit = 2.0 ** np.round(np.log2(spread.max())) if spread.any() else 1.0
    constant = spread == 0
    spread = np.maximum(spread, LEAST_RELATIVE_SPREAD * np.abs(mean))
    spread[constant] = unit

    layers = keras.layers
    features = layers.Input((train_rows.shape[1],), dtype="float32", name="features")
    x = layers.Rescaling(1.0 / unit, dtype="float32", name="unit_scale")(features)
    x = layers.Normalization(
        mean=mean / unit, variance=(spread / unit) ** 2, dtype="float32", name="standardise"
    )(x)
    if hidden_units:
        x = layers.Dense(
            hidden_units,
            activation="relu",
            kernel_initializer=keras.initializers.HeNormal(seed=random_state),
            dtype="float32",
            name="hidden",
        )(x)
    if dropout:
        x = layers.Dropout(dropout, seed=random_state, dtype="float32", name="dropout")(x)
    probabilities = layers.Dense(
        n_classes,
        activation="softmax",
        kernel_initializer="zeros",
        dtype="float32",
        name="probabilities",
    )(x)
    return keras.Model(features, probabilities, name="head")


def load_dense_head(path) -> keras.Model:
    """Loads a dense head that was saved with `model.save`, safely.

    Args:
        path: the `.keras` file.

    Returns:
        The model: float32 `(n, n_features)` to `(n, n_classes)` probabilities.

    Raises:
        RunError: the file is missing, damaged, unsafe, or no head.
    """
    model = load_keras_model_safely(path)
    shapes = model.input_shape, model.output_shape
    if not all(isinstance(shape, tuple) and len(shape) == 2 for shape in shapes):
        raise RunError(
            f"{path} is no dense head. Expected: a model from (n, n_features) to (n, n_classes). "
            f"Received: {shapes[0]} to {shapes[1]}"
        )
    return model


def _compile_epoch(model, optimizer, rows, targets, weights):
    """One graph that takes int32 `(n_steps, rows_per_step)` row numbers and trains on them."""
    rows, targets, weights = tf.constant(rows), tf.constant(targets), tf.constant(weights)

    @tf.function(jit_compile=False)
    def run_epoch(batches):
        for batch in batches:
            with tf.GradientTape() as tape:
                probabilities = model(tf.gather(rows, batch), training=True)
                losses = keras.losses.categorical_crossentropy(
                    tf.gather(targets, batch), probabilities
                )
                loss = tf.reduce_mean(losses * tf.gather(weights, batch))
            optimizer.apply(tape.gradient(loss, model.trainable_variables))

    return run_epoch


def _compile_predict(model):
    signature = [tf.TensorSpec((None, model.input_shape[1]), tf.float32)]
    predict_block = tf.function(
        lambda rows: model(rows, training=False), input_signature=signature, jit_compile=False
    )

    def predict(rows):
        blocks = [
            predict_block(rows[start : start + ROWS_PER_BLOCK]).numpy()
            for start in range(0, len(rows), ROWS_PER_BLOCK)
        ]
        return np.concatenate(blocks)

    return predict


def _draw_batches(random: np.random.Generator, n_rows: int, batch_size: int) -> np.ndarray:
    """Row numbers in new order, int32 `(n_steps, rows_per_step)`, near `batch_size` a step.

    Steps are of one size; fewer than `n_steps` rows, others each time, sit an epoch out.
    """
    n_steps = max(1, round(n_rows / batch_size))
    per_step = n_rows // n_steps
    order = random.permutation(n_rows)[: n_steps * per_step]
    return order.reshape(n_steps, per_step).astype(np.int32)


def _score(predict, rows, labels) -> tuple[float, float]:
    probabilities = predict(rows)
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return mean_log_loss(labels, probabilities), accuracy


def _sample_weights(labels, n_classes: int, class_weight: str | None) -> np.ndarray:
    if class_weight is None:
        return np.ones(len(labels), np.float32)
    if class_weight != "balanced":
        raise ValueError(
            f'`class_weight` must be None or "balanced". Received: class_weight={class_weight!r}'
        )
    counts = np.bincount(labels, minlength=n_classes)
    return (len(labels) / (n_classes * counts))[labels].astype(np.float32)


def _check_parameters(**ranges) -> None:
    """Checks that each `(value, least, below)` is a number in its range."""
    for name, (value, least, below) in ranges.items():
        if not (isinstance(value, int | float) and least <= value < below):
            raise ValueError(
                f"`{name}` must be a number, at least {least:g} and below {below:g}. "
                f"Received: {name}={value!r}"
            )
