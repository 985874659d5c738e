"""The dense head as the registry knows it: predict, save, load, and the model for fine-tuning."""

from dataclasses import asdict
from pathlib import Path

import numpy as np

from pipeline.backbones.safe_loading import load_keras_model_safely
from pipeline.errors import RunError
from pipeline.heads.class_weights import weigh_classes
from pipeline.heads.dense.arithmetic import find_arithmetic, save_arithmetic
from pipeline.heads.dense.graphs import compile_predict
from pipeline.heads.dense.training import fit_dense_head
from pipeline.heads.head import ChosenHead, FeatureArray, TrainingRows, require_width
from pipeline.heads.options import DenseOptions
from pipeline.system.keras_on_tensorflow import keras
from pipeline.system.progress import OnProgress


class DenseHead:
    """A Keras model as a head.

    Args:
        model: float32 `(n, n_features)` to `(n, n_classes)` probabilities.
    """

    def __init__(self, model: keras.Model):
        self.model = model
        self._predict = compile_predict(model)

    def predict_proba(self, features: FeatureArray) -> np.ndarray:
        """Float32 probabilities `(n_samples, n_classes)`, computed block by block.

        Raises:
            ParameterError: the features are not as wide as the head's.
        """
        n_features = self.model.input_shape[1]
        require_width(features, n_features)
        return self._predict(features)

    def save(self, folder: Path) -> None:
        """Writes `head.keras`, and beside it what its layers compute."""
        self.model.save(folder / "head.keras")
        arithmetic = find_arithmetic(self.model)
        if arithmetic is not None:
            save_arithmetic(folder / "head.keras", arithmetic)

    def to_keras(self) -> keras.Model:
        """The model itself."""
        return self.model


def fit_dense(
    rows: TrainingRows, options: DenseOptions, *, seed: int, on_progress: OnProgress
) -> ChosenHead:
    """Fits the dense head of the registry; see `FitHead`."""
    settings = asdict(options)
    settings["class_weight"] = weigh_classes(
        options.class_weight, rows.labels[rows.is_train], list(rows.class_names)
    )
    fit = fit_dense_head(
        rows.features,
        rows.labels,
        rows.is_train,
        rows.is_val,
        rows.class_names,
        **settings,
        random_state=seed,
        on_epoch=lambda record: on_progress("Epochs", record["epoch"], options.epochs),
        on_progress=on_progress,
    )
    notes = list(options.describe_idle())
    if fit.best_epoch == options.epochs:
        more = 2 * options.epochs
        notes = [f"The last epoch was the best, so more may help: `epochs={more}`"]
    return ChosenHead(
        head=DenseHead(fit.model),
        chosen=f"epoch {fit.best_epoch} of {fit.history[-1]['epoch']}",
        chosen_by="val",
        history=fit.history,
        x="epoch",
        best=fit.best_epoch,
        notes=notes,
    )


def load_dense_head(path: str | Path) -> keras.Model:
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
