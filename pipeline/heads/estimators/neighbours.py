"""The neighbours head: k nearest training images vote, the nearer the more, as DINOv2's kNN.

Features are scaled to length 1, and a neighbour of cosine similarity s has `exp(s / temperature)`
votes: Caron et al., "Emerging properties in self-supervised vision transformers", 2021. One more
vote is shared by all classes as training has them, or a class that no neighbour is of would be
called impossible.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import HeadError, RunError
from pipeline.heads.estimators.train_rows import read_rows
from pipeline.heads.head import ChosenHead, FeatureArray, TrainingRows, require_width
from pipeline.heads.linear import require_same_classes
from pipeline.heads.options import NeighboursOptions
from pipeline.runs.scores import mean_log_loss
from pipeline.system.array_files import UnreadableError, read_arrays
from pipeline.system.expected_tables import Table
from pipeline.system.progress import OnProgress

if TYPE_CHECKING:
    from sklearn.neighbors import KNeighborsClassifier

    from pipeline.system.keras_on_tensorflow import keras

FILE = "neighbours.npz"
TRIED = (1, 2, 5, 10, 20, 50, 100, 200)
_ROWS_PER_BLOCK = 2048
_EXPECTED = {
    "features": Table(np.float32, ("n_rows", "n_features")),
    "labels": Table(np.int32, ("n_rows",)),
    "neighbours": Table(np.int64, ()),
    "temperature": Table(np.float64, ()),
    "n_views": Table(np.int64, (), is_optional=True),  # not there in older runs
    "class_names": Table(np.str_, ()),
}


@dataclass(frozen=True)
class NeighboursHead:
    """Training images that vote.

    Args:
        features: float32 `(n_rows, n_features)`, of length 1.
        labels: int32 `(n_rows,)`; each class is there.
        neighbours: how many vote, 1 to `n_rows`.
        temperature: above 0; the lower, the more the nearest count.
        class_names: in the order of the labels.
        n_views: rows of each training image; a row's vote is one `n_views`-th.
    """

    features: np.ndarray
    labels: np.ndarray
    neighbours: int
    temperature: float
    class_names: tuple[str, ...]
    n_views: int = 1

    @cached_property
    def _classifier(self) -> "KNeighborsClassifier":
        from sklearn.neighbors import KNeighborsClassifier

        found = KNeighborsClassifier(self.neighbours, weights=self._weigh, algorithm="brute")
        return found.fit(self.features, self.labels)

    def _weigh(self, distances: np.ndarray) -> np.ndarray:
        """Votes; of vectors of length 1 the cosine is 1 - distance^2 / 2. The nearest has 1."""
        similarities = 1 - np.square(distances.astype(np.float64)) / 2
        nearest = similarities.max(axis=1, keepdims=True)
        votes: np.ndarray = np.exp((similarities - nearest) / self.temperature)
        return votes

    @cached_property
    def _shares(self) -> np.ndarray:
        return np.bincount(self.labels, minlength=len(self.class_names)) / len(self.labels)

    def predict_proba(self, features: FeatureArray) -> np.ndarray:
        """Float32 probabilities `(n_samples, n_classes)`, computed block by block.

        Raises:
            ParameterError: the features are not as wide as the head's.
        """
        n_features = self.features.shape[1]
        require_width(features, n_features)
        probabilities = np.empty((features.shape[0], len(self.class_names)), np.float32)
        for start in range(0, features.shape[0], _ROWS_PER_BLOCK):
            block = slice(start, start + _ROWS_PER_BLOCK)
            votes = self._classifier.predict_proba(to_unit_length(features[block]))
            n_votes = self.neighbours / self.n_views
            mixed = (n_votes * votes + self._shares) / (n_votes + 1)
            probabilities[block] = mixed
        return probabilities

    def save(self, folder: Path) -> None:
        """Writes `neighbours.npz`, with the features of all training images."""
        with (folder / FILE).open("wb") as file:
            np.savez(
                file,
                features=self.features,
                labels=self.labels.astype(np.int32),
                neighbours=np.int64(self.neighbours),
                temperature=np.float64(self.temperature),
                n_views=np.int64(self.n_views),
                class_names=np.array(json.dumps(list(self.class_names), ensure_ascii=False)),
            )

    def to_keras(self) -> "keras.Layer":
        raise HeadError(
            "it compares an image with those that it was fitted on, and has no weights that "
            "training could improve. Fit a linear head, such as `head='ridge'`, and fine-tune that."
        )


def to_unit_length(rows: np.ndarray) -> np.ndarray:
    """Rows divided by their lengths, float32; a row of zeros stays one."""
    rows = rows.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.ascontiguousarray(rows / np.where(lengths == 0, 1, lengths), np.float32)


def fit_neighbours(
    rows: TrainingRows, options: NeighboursOptions, *, seed: int, on_progress: OnProgress
) -> ChosenHead:
    """Fits the neighbours head of the registry; see `FitHead`."""
    is_open = options.neighbours is None
    known = read_rows(rows, None, needs_val=is_open, on_progress=on_progress)
    features = to_unit_length(known.train)

    def make(neighbours: int) -> NeighboursHead:
        """Of so many images, and so of several times as many views."""
        return NeighboursHead(
            features,
            known.labels,
            neighbours * known.n_views,
            options.temperature,
            known.class_names,
            known.n_views,
        )

    history: list[dict[str, Any]] = []
    if options.neighbours is not None:
        chosen = min(options.neighbours, known.n_images)
    else:
        tried = [number for number in TRIED if number <= known.n_images]
        for done, number in enumerate(tried, start=1):
            probabilities = make(number).predict_proba(known.val)
            history.append(
                {
                    "neighbours": number,
                    **{"train_loss": None, "train_accuracy": None},
                    "val_loss": mean_log_loss(known.val_labels, probabilities),
                    "val_accuracy": float(
                        (probabilities.argmax(axis=1) == known.val_labels).mean()
                    ),
                }
            )
            on_progress("Choosing neighbours", done, len(tried))
        losses = [record["val_loss"] for record in history]
        chosen = tried[int(np.argmin(losses))]
    too_many = options.neighbours is not None and options.neighbours > known.n_images
    return ChosenHead(
        head=make(chosen),
        chosen=f"neighbours = {chosen:,}",
        chosen_by="val" if is_open else "user",
        history=history,
        x="neighbours",
        best=chosen,
        notes=[f"There are only {known.n_images:,} training images, and all vote."] * too_many,
        settled={"neighbours": chosen},
    )


def load_neighbours(folder: Path, class_names: Sequence[str]) -> NeighboursHead:
    """Reads the neighbours head of a run.

    Raises:
        RunError: the file is missing or damaged.
        ParityError: the head was fitted on other classes.
    """
    path = folder / FILE
    try:
        arrays = read_arrays(path, _EXPECTED)
        names = json.loads(str(arrays["class_names"]))
        head = NeighboursHead(
            arrays["features"],
            arrays["labels"],
            int(arrays["neighbours"]),
            float(arrays["temperature"]),
            tuple(map(str, names)),
            int(arrays.get("n_views", 1)),
        )
        _require_sound(head)
    except (UnreadableError, ValueError, TypeError, RecursionError) as error:
        raise RunError(
            f"{path} is damaged or no head. Expected: the features and labels of training images. "
            f"Received: {error}. Fit the head again"
        ) from error
    require_same_classes(head.class_names, class_names)
    return head


def _require_sound(head: NeighboursHead) -> None:
    """Raises a ValueError for numbers that no head has."""
    n_rows, n_classes = len(head.features), len(head.class_names)
    if not 1 <= head.n_views <= n_rows:
        raise ValueError(f"{head.n_views} views of each image")
    if not 1 <= head.neighbours <= n_rows or not 0 < head.temperature < np.inf:
        raise ValueError(f"{head.neighbours} neighbours, temperature {head.temperature}")
    if set(head.labels.tolist()) != set(range(n_classes)):
        raise ValueError(f"labels that are not those of {n_classes} classes")
    if not np.isfinite(head.features).all():
        raise ValueError("numbers that are not finite")
