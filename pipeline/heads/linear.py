"""The linear head as a run keeps it: kernel, bias and class names, in an .npz without pickle.

Nothing here imports TensorFlow, unless the head is to become a Keras layer.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import ParityError, RunError
from pipeline.heads.head import FeatureArray, require_width
from pipeline.runs.scores import softmax
from pipeline.system.array_files import UnreadableError, read_arrays
from pipeline.system.expected_tables import Table
from pipeline.system.printable import name_some

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

    from pipeline.system.keras_on_tensorflow import keras

ROWS_PER_BLOCK = 8192
_EXPECTED = {
    "kernel": Table(np.float32, ("n_features", "n_classes")),
    "bias": Table(np.float32, ("n_classes",)),
    "class_names": Table(np.str_, ()),
}


@dataclass(frozen=True)
class LinearHead:
    """A linear map of raw features to class scores; softmax makes them probabilities.

    Args:
        kernel: float32 `(n_features, n_classes)`.
        bias: float32 `(n_classes,)`.
        class_names: `n_classes` names, in the order of the columns.
        pipeline: scikit-learn's object with the same probabilities, which is saved beside the head
            for people; a head that was read from a file has none.
    """

    kernel: np.ndarray
    bias: np.ndarray
    class_names: tuple[str, ...]
    pipeline: "Pipeline | None" = field(default=None, repr=False, compare=False)

    def predict_proba(self, features: FeatureArray) -> np.ndarray:
        """Probabilities of the classes, computed block by block in float64.

        Args:
            features: `(n_samples, n_features)`, raw: an array, or anything sliced like one.

        Returns:
            float32 `(n_samples, n_classes)`, rows that sum to 1.

        Raises:
            ParameterError: the features are not as wide as the head's.
        """
        n_features, n_classes = self.kernel.shape
        require_width(features, n_features)
        kernel, bias = self.kernel.astype(np.float64), self.bias.astype(np.float64)
        probabilities = np.empty((features.shape[0], n_classes), np.float32)
        for start in range(0, features.shape[0], ROWS_PER_BLOCK):
            block = slice(start, start + ROWS_PER_BLOCK)
            probabilities[block] = softmax(features[block].astype(np.float64) @ kernel + bias)
        return probabilities

    def save(self, folder: Path) -> None:
        """Writes `head.npz`, and `head.joblib` where there is a scikit-learn pipeline."""
        save_linear_head(folder / "head.npz", self)
        if self.pipeline is not None:
            import joblib

            joblib.dump(self.pipeline, folder / "head.joblib")

    def to_keras(self) -> "keras.Layer":
        """A Dense layer `head` with softmax, in float32."""
        from pipeline.system.keras_on_tensorflow import keras

        n_features, n_classes = self.kernel.shape
        layer = keras.layers.Dense(n_classes, activation="softmax", dtype="float32", name="head")
        layer.build((None, n_features))
        layer.set_weights([self.kernel, self.bias])
        return layer


def load_linear(folder: Path, class_names: Sequence[str]) -> LinearHead:
    """Reads the linear head of a run.

    Raises:
        RunError: the file is missing or damaged.
        ParityError: the head was fitted on other classes.
    """
    head = load_linear_head(folder / "head.npz")
    require_same_classes(head.class_names, class_names)
    return head


def require_same_classes(of_head: Sequence[str], of_run: Sequence[str]) -> None:
    """Raises a ParityError for a head that was fitted on other classes than a run's."""
    if list(of_head) == list(of_run):
        return
    only_head = [name for name in of_head if name not in set(of_run)]
    only_run = [name for name in of_run if name not in set(of_head)]
    differences = [
        f"{where}: {name_some(names)}"
        for where, names in (("only in the head", only_head), ("only in the run", only_run))
        if names
    ] or [f"in another order, {_name_first_difference(of_head, of_run)}"]
    raise ParityError(
        f"The head was fitted on other classes than the run's. Expected {name_some(of_run)}. "
        f"Received: {'; '.join(differences)}\nThe head's file is not the one that this run was "
        "written with; fit it again."
    )


def _name_first_difference(of_head: Sequence[str], of_run: Sequence[str]) -> str:
    for place, (ours, theirs) in enumerate(zip(of_head, of_run, strict=False), start=1):
        if ours != theirs:
            return f"class {place}: {ours!r} instead of {theirs!r}"
    return f"{len(of_head)} classes instead of {len(of_run)}"


def save_linear_head(path: str | Path, head: LinearHead) -> None:
    """Writes a head as an .npz that needs no pickle.

    Args:
        path: file to write, under exactly this name.
        head: what to write.
    """
    with Path(path).open("wb") as file:
        np.savez(
            file,
            kernel=head.kernel,
            bias=head.bias,
            class_names=np.array(json.dumps(list(head.class_names), ensure_ascii=False)),
        )


def load_linear_head(path: str | Path) -> LinearHead:
    """Reads a head that `save_linear_head` wrote, without unpickling anything.

    Args:
        path: the .npz file.

    Returns:
        The head.

    Raises:
        RunError: the file is missing, damaged, or no linear head.
    """
    path = Path(path)
    try:
        arrays = read_arrays(path, _EXPECTED)
        kernel, bias = arrays["kernel"], arrays["bias"]
        class_names = tuple(json.loads(str(arrays["class_names"])))
    except (UnreadableError, ValueError, TypeError, RecursionError) as error:
        if not path.exists():
            raise RunError(
                f"There is no head at {path}. Fit one with `frostline.fit_head(FEATURES)`"
            ) from error
        raise _not_a_head(path, str(error)) from error
    n_classes = len(class_names)
    if kernel.shape[1] != n_classes:
        raise _not_a_head(
            path, f"kernel {kernel.shape}, bias {bias.shape}, {n_classes} class names"
        )
    if n_classes < 2 or not all(isinstance(name, str) for name in class_names):
        raise _not_a_head(path, f"class names {class_names}")
    if not (np.isfinite(kernel).all() and np.isfinite(bias).all()):
        raise _not_a_head(path, "numbers that are not finite")
    return LinearHead(kernel, bias, class_names)


def _not_a_head(path: Path, received: str) -> RunError:
    return RunError(
        f"{path} is damaged or no linear head. Expected: float32 kernel (n_features, n_classes), "
        f"float32 bias (n_classes,) and class names. Received: {received}. Fit the head again"
    )
