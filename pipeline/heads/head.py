"""The seam between heads and everything else: what a head can do, and what fitting one takes.

A new head is a file and a line in `registry.py`. Nothing here imports TensorFlow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from pipeline.errors import ParameterError
from pipeline.system.progress import OnProgress

if TYPE_CHECKING:
    from pipeline.system.keras_on_tensorflow import keras


class FeatureArray(Protocol):
    """Rows of features, float32 `(n_samples, n_features)`: an array, or what is sliced like one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> np.ndarray: ...


def require_width(features: FeatureArray, n_features: int) -> None:
    """Raises a ParameterError for features of another backbone than the head was fitted on."""
    if len(features.shape) != 2 or features.shape[1] != n_features:
        raise ParameterError(
            f"The head expects features of shape (n_samples, {n_features}). Received: shape "
            f"{tuple(features.shape)}. Use features of the backbone that the head was fitted on",
            "features",
        )


class Head(Protocol):
    """What maps features to probabilities of classes."""

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """Probabilities of the classes. Several threads may call it at once.

        Args:
            features: float32 `(n_samples, n_features)`, raw, at least one row.

        Returns:
            float32 `(n_samples, n_classes)`, rows that sum to 1.

        Raises:
            ParameterError: the features are not as wide as the head's.
        """
        ...

    def save(self, folder: Path) -> None:
        """Writes the files that the registry names into an existing folder."""
        ...

    def to_keras(self) -> "keras.Layer":
        """The same map as a layer or model from features to probabilities, for fine-tuning.

        Raises:
            HeadError: it is none that Keras can train; the message says why not.
        """
        ...


@dataclass(frozen=True)
class TrainingRows:
    """What a head is fitted on.

    Args:
        features: float32 `(n_samples, n_features)`; they may lie in a file, so nothing but slices
            and arrays of row numbers can be taken of them.
        labels: int `(n_samples,)`, indices into `class_names`; -1 = none.
        is_train: bool `(n_samples,)`, the rows to fit; each has a label.
        is_val: bool `(n_samples,)`, the rows that choose.
        class_names: in the order of the labels.
        units: int `(n_samples,)`, equal for equal images and those of one group: whoever leaves
            rows out leaves these out together. None = each row is its own.
        n_views: rows of each training image, each of which counts one `n_views`-th of an image. The
            first `n_images` rows are images as they are, and all others are augmented views of
            these, image by image; those train and are never scored.
    """

    features: FeatureArray
    labels: np.ndarray
    is_train: np.ndarray
    is_val: np.ndarray
    class_names: Sequence[str]
    units: np.ndarray | None = None
    n_views: int = 1

    @property
    def n_images(self) -> int:
        """How many rows are images as they are."""
        return len(self.labels) // self.n_views


@dataclass(frozen=True)
class ChosenHead:
    """A head and how it was found.

    Args:
        head: ready to predict.
        chosen: what was chosen, in words such as `C = 1`.
        chosen_by: who chose it: the split `val`, `leave-one-out` of the training rows, the `user`,
            or `nothing` where there was no choice.
        history: a record of `x` and losses per epoch, or per value tried; empty where there is
            but one.
        x: name of the column that the history runs over.
        best: the value in it that was chosen.
        notes: sentences for people.
        settled: options by name with which the same head can be fitted without validation rows:
            those that were chosen. None where such rows are always needed.
    """

    head: Head
    chosen: str
    chosen_by: str = "nothing"
    history: list[dict[str, Any]] = field(default_factory=list)
    x: str = "epoch"
    best: int | float = 0
    notes: list[str] = field(default_factory=list)
    settled: dict[str, Any] | None = None


class FitHead(Protocol):
    """A function that fits a head of one kind."""

    def __call__(
        self, rows: TrainingRows, options: Any, *, seed: int, on_progress: OnProgress
    ) -> ChosenHead:
        """Fits a head.

        Args:
            options: of the kind's own dataclass, checked.
            seed: decides all that is left to chance.
            on_progress: called with a stage, the number done and the number to do.
        """
        ...


class FitPath(Protocol):
    """A function that fits heads that differ in one option, each from where the last one ended."""

    def __call__(
        self, rows: TrainingRows, options: Sequence[Any], *, seed: int, on_progress: OnProgress
    ) -> Iterator[ChosenHead]:
        """Fits a head for each of the options, and gives each as soon as it is fitted.

        Args:
            options: of the kind's own dataclass, checked; by rising value of the path's option,
                which is None in none; alike in all else.
        """
        ...


class LoadHead(Protocol):
    """A function that reads a head of one kind."""

    def __call__(self, folder: Path, class_names: Sequence[str]) -> Head:
        """Reads what `Head.save` wrote.

        Args:
            class_names: that the head must have been fitted on.

        Raises:
            RunError: a file is missing or damaged.
            ParityError: the head was fitted on other classes.
        """
        ...
