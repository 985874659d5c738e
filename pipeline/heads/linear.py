"""The linear head as a run keeps it: kernel, bias and class names, in an .npz without pickle."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import FeatureFileError, RunError, describe_unread_arrays

ROWS_PER_BLOCK = 8192


@dataclass(frozen=True)
class LinearHead:
    """A linear map of raw features to class scores; softmax makes them probabilities.

    Args:
        kernel: float32 `(n_features, n_classes)`.
        bias: float32 `(n_classes,)`.
        class_names: `n_classes` names, in the order of the columns.
    """

    kernel: np.ndarray
    bias: np.ndarray
    class_names: tuple[str, ...]

    def predict_probabilities(self, features) -> np.ndarray:
        """Probabilities of the classes, computed block by block in float64.

        Args:
            features: `(n_samples, n_features)`, raw: an array, or anything sliced like one.

        Returns:
            float32 `(n_samples, n_classes)`, rows that sum to 1.

        Raises:
            FeatureFileError: the features are not as wide as the head's.
        """
        n_features, n_classes = self.kernel.shape
        if len(features.shape) != 2 or features.shape[1] != n_features:
            raise FeatureFileError(
                f"The head expects features of shape (n_samples, {n_features}). Received: shape "
                f"{tuple(features.shape)}. Use features of the backbone that the head was fitted on"
            )
        kernel, bias = self.kernel.astype(np.float64), self.bias.astype(np.float64)
        probabilities = np.empty((features.shape[0], n_classes), np.float32)
        for start in range(0, features.shape[0], ROWS_PER_BLOCK):
            block = slice(start, start + ROWS_PER_BLOCK)
            probabilities[block] = softmax(features[block].astype(np.float64) @ kernel + bias)
        return probabilities


def softmax(scores: np.ndarray) -> np.ndarray:
    """Softmax over the last axis, shifted by the greatest score so that nothing overflows.

    Args:
        scores: `(n_samples, n_classes)`.

    Returns:
        Probabilities of the same shape and dtype.
    """
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def save_linear_head(path, head: LinearHead) -> None:
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


def load_linear_head(path) -> LinearHead:
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
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            kernel, bias = arrays["kernel"], arrays["bias"]
            class_names = tuple(json.loads(str(arrays["class_names"])))
    except FileNotFoundError as error:
        raise RunError(f"There is no head at {path}. Fit one with `fit-head`") from error
    except Exception as error:
        # zipfile and numpy raise a dozen kinds of error, according to which byte is damaged.
        raise _not_a_head(path, describe_unread_arrays(error)) from error
    n_classes = len(class_names)
    if kernel.ndim != 2 or kernel.shape[1] != n_classes or bias.shape != (n_classes,):
        raise _not_a_head(
            path, f"kernel {kernel.shape}, bias {bias.shape}, {n_classes} class names"
        )
    if kernel.dtype != np.float32 or bias.dtype != np.float32:
        raise _not_a_head(path, f"kernel {kernel.dtype}, bias {bias.dtype}")
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
