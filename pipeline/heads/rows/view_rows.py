"""Views as rows that heads train on, and predictions averaged over views.

Heads are fitted on all views of their training images, each of which counts one n-th of an image.
Rows that choose or are scored are images as they are, so there are none of their views among these.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from pipeline.errors import ParameterError
from pipeline.heads.head import FeatureArray, Head, TrainingRows
from pipeline.heads.rows.training_rows import split_rows


class RowsAndViews:
    """Rows of images and behind them those of their views, as one `(n_rows, n_features)`.

    Args:
        features: float32 `(n_samples, n_features)`, or what is sliced like it.
        views: the same of the augmented views, image by image.
    """

    def __init__(self, features: FeatureArray, views: FeatureArray):
        self._features, self._views = features, views
        self.shape = (len(features) + len(views), features.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        n_samples = len(self._features)
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step != 1:
                raise ValueError(f"Expected a slice of step 1. Received: {rows}")
            if stop <= n_samples:
                return self._features[start:stop]
            views = self._views[max(0, start - n_samples) : stop - n_samples]
            return views if start >= n_samples else np.concatenate([self._features[start:], views])
        numbers = np.asarray(rows, np.int64)
        is_view = numbers >= n_samples
        found = np.empty((len(numbers), self.shape[1]), np.float32)
        found[~is_view] = self._features[numbers[~is_view]]
        found[is_view] = self._views[numbers[is_view] - n_samples]
        return found


def arrange_views(views: Any, features: FeatureArray) -> FeatureArray | None:
    """Augmented views as rows, image by image; None where there are none.

    Args:
        views: as `fit` takes them: `(n_samples, n_augmented, n_features)`, or such rows.

    Raises:
        ParameterError: they do not fit the features.
    """
    if views is None:
        return None
    n_samples, n_features = features.shape
    shape = tuple(np.shape(views))
    is_table = len(shape) == 3 and shape[0] == n_samples
    are_rows = len(shape) == 2 and shape[0] % n_samples == 0
    if not (is_table or are_rows) or shape[-1] != n_features or 0 in shape:
        raise ParameterError(
            "Expected `views` of shape (n_samples, n_views - 1, n_features): the augmented views "
            f"of the {n_samples:,} rows of {n_features:,} features. Received: shape {shape}",
            "views",
        )
    if not isinstance(views, np.ndarray):
        rows: FeatureArray = views
        return rows
    flat = np.ascontiguousarray(views, np.float32).reshape(-1, n_features)
    if not np.isfinite(flat).all():
        raise ParameterError("Expected `views` to be finite numbers. Received: NaN or infinity",
                             "views")  # fmt: skip
    return flat


def add_views(rows: TrainingRows, views: FeatureArray | None) -> TrainingRows:
    """The same rows, with the views of training images behind them.

    Args:
        views: as `arrange_views` gives them.
    """
    if views is None:
        return rows
    n_samples = len(rows.labels)
    n_augmented = len(views) // n_samples
    units = np.arange(n_samples) if rows.units is None else rows.units

    def with_views(of_images: np.ndarray) -> np.ndarray:
        return spread_over_views(of_images, n_augmented + 1)

    is_train = with_views(rows.is_train)
    return replace(
        rows,
        features=RowsAndViews(rows.features, views),
        labels=with_views(rows.labels),
        is_train=is_train,
        is_val=np.concatenate([rows.is_val, np.zeros(len(views), bool)]),
        units=with_views(units),
        n_views=n_augmented + 1,
    )


def spread_over_views(of_images: np.ndarray, n_views: int) -> np.ndarray:
    """What is so of images, of all their rows: those of view 0, then the others image by image."""
    return np.concatenate([of_images, np.repeat(of_images, n_views - 1)])


def average_views(
    predict_proba: Callable[[np.ndarray], np.ndarray], plain: np.ndarray, views: np.ndarray
) -> np.ndarray:
    """Mean of the probabilities of all views, float32 `(n, n_classes)`.

    Args:
        predict_proba: from features `(n, n_features)` to probabilities.
        plain: features of view 0, `(n, n_features)`.
        views: of the other views, `(n, n_augmented, n_features)`.
    """
    n_augmented = views.shape[1]
    of_views = predict_proba(views.reshape(-1, views.shape[2]))
    total = predict_proba(plain).astype(np.float64)
    total += of_views.reshape(len(plain), n_augmented, -1).sum(axis=1, dtype=np.float64)
    return (total / (n_augmented + 1)).astype(np.float32)


def predict_rows(
    head: Head,
    features: FeatureArray,
    numbers: np.ndarray,
    views: FeatureArray | None = None,
) -> np.ndarray:
    """Probabilities of some images, float32 `(n, n_classes)`, a few megabytes at a time.

    Args:
        features: of all images.
        numbers: of the images.
        views: rows of the augmented views of all images, to average over; None = view 0 alone.
    """
    step = split_rows(features)[0].stop
    n_augmented = 0 if views is None else len(views) // len(features)
    found = []
    for start in range(0, len(numbers), step):
        some = numbers[start : start + step]
        if views is None:
            found.append(head.predict_proba(features[some]))
            continue
        of_some = (some[:, None] * n_augmented + np.arange(n_augmented)).ravel()
        of_views = views[of_some].reshape(len(some), n_augmented, -1)
        found.append(average_views(head.predict_proba, features[some], of_views))
    return np.concatenate(found)
