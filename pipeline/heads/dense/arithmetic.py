"""The dense head as plain arithmetic, so that predicting with it needs no TensorFlow.

`head.keras` stays the head; beside it lies what its layers compute, bound to it by its sha256.
Where that is missing or belongs to another file, Keras loads the head.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import RunError
from pipeline.heads.head import FeatureArray, Head, require_width
from pipeline.heads.linear import ROWS_PER_BLOCK
from pipeline.runs.scores import softmax
from pipeline.system.array_files import UnreadableError, read_arrays
from pipeline.system.atomic_files import write_bytes
from pipeline.system.expected_tables import Table
from pipeline.system.paths import sha256_of_file
from pipeline.system.quiet_start import no_start_up_talk

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras

ARITHMETIC = "head-arithmetic.npz"


@dataclass(frozen=True)
class DenseArithmetic:
    """Standardised features through dense layers, all but the last with ReLU; softmax at the end.

    Args:
        scale: float64 `(n_features,)`, a factor for each feature.
        shift: float64 `(n_features,)`, added after that.
        layers: float32 kernel `(n_in, n_out)` and bias `(n_out,)` of each dense layer.
    """

    scale: np.ndarray
    shift: np.ndarray
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]

    @property
    def n_features(self) -> int:
        return len(self.scale)

    @property
    def n_classes(self) -> int:
        return self.layers[-1][1].shape[0]

    def predict_proba(self, features: FeatureArray) -> np.ndarray:
        """Float32 probabilities `(n_samples, n_classes)`, block by block in float64.

        Raises:
            ParameterError: the features are not as wide as the head's.
        """
        require_width(features, self.n_features)
        layers = [(kernel.astype(np.float64), bias) for kernel, bias in self.layers]
        probabilities = np.empty((features.shape[0], self.n_classes), np.float32)
        for start in range(0, features.shape[0], ROWS_PER_BLOCK):
            block = slice(start, start + ROWS_PER_BLOCK)
            rows = features[block].astype(np.float64) * self.scale + self.shift
            for kernel, bias in layers[:-1]:
                rows = np.maximum(rows @ kernel + bias, 0)
            kernel, bias = layers[-1]
            probabilities[block] = softmax(rows @ kernel + bias)
        return probabilities


class SavedDenseHead:
    """A dense head in a file: predicts by arithmetic, is read by Keras to be trained on.

    Args:
        arithmetic: what its layers compute.
        load: reads the head with Keras.
    """

    def __init__(self, arithmetic: DenseArithmetic, load: Callable[[], Head]):
        self._arithmetic = arithmetic
        self._load = load

    def predict_proba(self, features: FeatureArray) -> np.ndarray:
        """See `DenseArithmetic.predict_proba`."""
        return self._arithmetic.predict_proba(features)

    def save(self, folder: Path) -> None:
        """Writes it as Keras does."""
        self._load().save(folder)

    def to_keras(self) -> "keras.Layer":
        """The layer or model that was saved."""
        return self._load().to_keras()


def load_dense(folder: Path, class_names: Sequence[str]) -> Head:
    """Reads the dense head of a run; TensorFlow starts only where its arithmetic is not there.

    Raises:
        RunError: the file is missing, damaged or unsafe, or gives another number of classes.
    """
    path = folder / "head.keras"

    def load() -> Head:
        with no_start_up_talk():
            from pipeline.heads.dense.head import DenseHead, load_dense_head

        model = load_dense_head(path)
        if model.output_shape[1] != len(class_names):
            raise RunError(
                f"The head does not fit. Expected {len(class_names)} classes. Received: "
                f"{model.output_shape[1]}, from {path}"
            )
        return DenseHead(model)

    arithmetic = read_arithmetic(path)
    if arithmetic is None or arithmetic.n_classes != len(class_names):
        return load()
    return SavedDenseHead(arithmetic, load)


def save_arithmetic(path: Path, arithmetic: DenseArithmetic) -> None:
    """Writes the arithmetic of a head beside the file that Keras saved of it.

    Args:
        path: of that file, which must be there.
    """
    arrays: dict[str, Any] = {"scale": arithmetic.scale, "shift": arithmetic.shift}
    for number, (kernel, bias) in enumerate(arithmetic.layers):
        arrays |= {f"kernel{number}": kernel, f"bias{number}": bias}
    data = io.BytesIO()
    np.savez(data, of=np.array(sha256_of_file(path)), **arrays)
    write_bytes(path.with_name(ARITHMETIC), data.getvalue())


def read_arithmetic(path: Path) -> DenseArithmetic | None:
    """The arithmetic beside a head's or model's file; None where there is none that is its own."""
    expected = {
        "of": Table(np.str_, ()),
        "scale": Table(np.floating, ("n_features",)),
        "shift": Table(np.floating, ("n_features",)),
    }
    try:
        arrays = read_arrays(path.with_name(ARITHMETIC), expected, with_others=True)
        if str(arrays["of"]) != sha256_of_file(path):
            return None
        n_layers = sum(name.startswith("kernel") for name in arrays)
        layers = tuple((arrays[f"kernel{n}"], arrays[f"bias{n}"]) for n in range(n_layers))
    except (UnreadableError, KeyError, OSError):
        return None  # the head itself is another file
    return _check(DenseArithmetic(arrays["scale"], arrays["shift"], layers))


def _check(arithmetic: DenseArithmetic) -> DenseArithmetic | None:
    width = arithmetic.n_features
    for kernel, bias in arithmetic.layers:
        if kernel.ndim != 2 or kernel.shape[0] != width or bias.shape != kernel.shape[1:]:
            return None
        width = bias.shape[0]
    arrays = [arithmetic.scale, arithmetic.shift, *(a for pair in arithmetic.layers for a in pair)]
    is_whole = arithmetic.layers and arithmetic.shift.shape == arithmetic.scale.shape
    if not is_whole or not all(a.dtype.kind == "f" and np.isfinite(a).all() for a in arrays):
        return None
    return arithmetic


def find_arithmetic(model: "keras.Layer") -> DenseArithmetic | None:
    """What a head of Keras computes; None where a layer of it is of another kind than ours.

    Args:
        model: a Dense layer with softmax, or a chain of Rescaling, Normalization, Dense and
            Dropout.
    """
    from pipeline.system.keras_on_tensorflow import keras

    kinds = keras.layers
    chain = [model] if isinstance(model, kinds.Dense) else getattr(model, "layers", [])
    scale: Any = 1.0
    shift: Any = 0.0
    layers: list[tuple[np.ndarray, np.ndarray]] = []
    activations = []
    for layer in chain:
        if isinstance(layer, kinds.Dense):
            kernel, *bias = layer.get_weights()
            layers.append((kernel, bias[0] if bias else np.zeros(kernel.shape[1], np.float32)))
            activations.append(keras.activations.serialize(layer.activation))
        elif isinstance(layer, kinds.Rescaling) and not layers:
            scale, shift = scale * float(layer.scale), shift * float(layer.scale) + layer.offset
        elif isinstance(layer, kinds.Normalization) and not layers:
            mean, spread = _read_normalization(layer)
            scale, shift = scale / spread, (shift - mean) / spread
        elif not isinstance(layer, kinds.InputLayer | kinds.Dropout):
            return None
    expected = ["relu"] * (len(activations) - 1) + ["softmax"]
    if not layers or activations != expected:
        return None
    ones = np.ones(layers[0][0].shape[0], np.float64)
    return DenseArithmetic(ones * scale, ones * shift, tuple(layers))


def _read_normalization(layer: "keras.layers.Normalization") -> tuple[np.ndarray, np.ndarray]:
    """Mean and the divisor of each feature, which Keras keeps above its epsilon."""
    from pipeline.system.keras_on_tensorflow import keras

    mean = np.asarray(layer.mean, np.float64).reshape(-1)
    variance = np.asarray(layer.variance, np.float64).reshape(-1)
    return mean, np.maximum(np.sqrt(variance), keras.backend.epsilon())
