"""Trains the dense head: a small Keras network on features, by shuffled blocks.

Losses of train and validation rows are both measured in inference mode, so that their curves can
be compared.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.backbones.keras_settings import keras_settings
from pipeline.heads.dense.graphs import compile_predict, compile_steps
from pipeline.heads.dense.shuffled_blocks import draw_blocks
from pipeline.heads.head import FeatureArray
from pipeline.heads.rows.training_rows import (
    LEAST_RELATIVE_SPREAD,
    check_rows,
    survey_rows,
    weigh_each_class,
)
from pipeline.runs.scores import mean_log_loss
from pipeline.system.keras_on_tensorflow import keras
from pipeline.system.progress import OnProgress


@dataclass(frozen=True)
class DenseFit:
    """A fitted dense head and how it got there.

    Args:
        model: Keras model `head`: float32 `(n, n_features)` to `(n, n_classes)` probabilities,
            with the weights of the best epoch.
        history: one dict per epoch: `epoch` (0 is before the first step), `train_loss`,
            `train_accuracy`, `val_loss`, `val_accuracy` (log-loss in nats and 0..1, inference
            mode), `learning_rate`, `seconds` (this epoch's). Where the train rows take more than
            32 MiB, those of train are of an evenly spaced sample.
        best_epoch: the epoch with the lowest validation loss.
    """

    model: keras.Model
    history: list[dict[str, Any]]
    best_epoch: int


@keras_settings()
def fit_dense_head(
    features: FeatureArray,
    labels: np.ndarray,
    is_train: np.ndarray,
    is_val: np.ndarray,
    class_names: Sequence[str],
    *,
    hidden_units: int = 0,
    dropout: float = 0.5,
    learning_rate: float = 3e-4,
    weight_decay: float = 1e-2,
    batch_size: int = 64,
    epochs: int = 200,
    patience: int = 10,
    class_weight: str | np.ndarray | None = None,
    label_smoothing: float = 0.0,
    random_state: int = 0,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> DenseFit:
    """Fits a dense head with AdamW and keeps the epoch with the lowest validation loss.

    Args:
        features: float32 `(n_samples, n_features)`, of any scale: an array, or anything that is
            sliced like one. Nothing but slices of a few megabytes is taken of it.
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
        class_weight: float `(n_classes,)`; `"balanced"` weighs classes by the inverse of their
            frequency.
        label_smoothing: share of the target spread over all classes, 0 to below 1.
        random_state: decides initial weights, order of rows and dropout.
        on_epoch: called with each epoch's record.
        on_progress: called while the rows are surveyed, before the first epoch.

    Returns:
        The `DenseFit`.

    Raises:
        SplitError: fewer than two classes, a class without train rows, or no validation rows.
        ParameterError: a feature is not finite.
        ValueError: a parameter out of range.
    """
    check_rows(features, labels, is_train, is_val, class_names)
    _check_parameters(
        hidden_units=(hidden_units, 0, np.inf),
        dropout=(dropout, 0, 1),
        learning_rate=(learning_rate, float(np.finfo(np.float32).tiny), np.inf),
        weight_decay=(weight_decay, 0, np.inf),
        batch_size=(batch_size, 1, np.inf),
        epochs=(epochs, 0, np.inf),
        patience=(patience, 1, np.inf),
        label_smoothing=(label_smoothing, 0, 1),
    )
    weights = weigh_each_class(class_weight, labels[is_train], class_names)
    survey = survey_rows(features, is_train, on_progress)
    model = build_dense_head(
        survey.mean,
        survey.spread,
        len(class_names),
        hidden_units=hidden_units,
        dropout=dropout,
        random_state=random_state,
    )
    train_block = compile_steps(
        model,
        _make_optimizer(model, learning_rate, weight_decay),
        weights,
        label_smoothing=label_smoothing,
        batch_size=batch_size,
        random_state=random_state,
    )
    predict = compile_predict(model)

    def score() -> dict[str, float]:
        of_train = _score(predict(survey.sample_rows), labels[survey.sample])
        of_val = _score(predict(features, is_val), labels[is_val])
        names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate")
        return dict(zip(names, (*of_train, *of_val, learning_rate), strict=True))

    random = np.random.default_rng(random_state)

    def train() -> None:
        for rows, numbers in draw_blocks(features, is_train, random):
            train_block(rows, labels[numbers])

    return _run_epochs(model, train, score, epochs, patience, on_epoch)


def _run_epochs(
    model: keras.Model,
    train: Callable[[], None],
    score: Callable[[], dict[str, float]],
    epochs: int,
    patience: int,
    on_epoch: Callable[[dict[str, Any]], None] | None,
) -> DenseFit:
    """Trains until validation has not become better for long, and goes back to where it was best.

    Args:
        train: one pass over the training rows.
        score: what a record says of an epoch, `val_loss` among it.
    """
    history: list[dict[str, Any]] = []
    best, best_weights = 0, None
    for epoch in range(epochs + 1):
        start = time.perf_counter()
        if epoch:
            train()
        record: dict[str, Any] = {"epoch": epoch, **score()}
        record["seconds"] = time.perf_counter() - start
        history.append(record)
        if on_epoch:
            on_epoch(record)
        if best_weights is None or record["val_loss"] < history[best]["val_loss"]:
            best, best_weights = epoch, model.get_weights()
        elif epoch - best >= patience:
            break
    model.set_weights(best_weights)
    return DenseFit(model=model, history=history, best_epoch=best)


def _make_optimizer(
    model: keras.Model, learning_rate: float, weight_decay: float
) -> keras.optimizers.Optimizer:
    """AdamW, which lets biases be as large as they like."""
    optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    optimizer.build(model.trainable_variables)
    return optimizer


@keras_settings()
def build_dense_head(
    mean: np.ndarray,
    spread: np.ndarray,
    n_classes: int,
    *,
    hidden_units: int = 0,
    dropout: float = 0.5,
    random_state: int = 0,
) -> keras.Model:
    """Builds an untrained head, all in float32; it gives every class the same probability.

    Args:
        mean: float64 `(n_features,)`, of the train rows.
        spread: float64 `(n_features,)`, their standard deviation.
        n_classes: how many classes.
        hidden_units: width of a hidden ReLU layer; 0 for none.
        dropout: share of the last layer's inputs dropped while training.
        random_state: decides initial weights and dropout.

    Returns:
        Keras model `head`: `(n, n_features)` to `(n, n_classes)` probabilities.
    """
    # Normalization divides by at least 1e-7, so features go near 1 first, by an exact power of 2.
    unit = 2.0 ** np.round(np.log2(spread.max())) if spread.any() else 1.0
    constant = spread == 0
    spread = np.maximum(spread, LEAST_RELATIVE_SPREAD * np.abs(mean))
    spread[constant] = unit

    layers = keras.layers
    features = layers.Input(mean.shape, dtype="float32", name="features")
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


def _score(probabilities: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    return mean_log_loss(labels, probabilities), accuracy


def _check_parameters(**ranges: tuple[float, float, float]) -> None:
    """Checks that each `(value, least, below)` is a number in its range."""
    for name, (value, least, below) in ranges.items():
        if not (isinstance(value, int | float) and least <= value < below):
            raise ValueError(
                f"`{name}` must be a number, at least {least:g} and below {below:g}. "
                f"Received: {name}={value!r}"
            )
