"""The rows of train and val in memory, as scikit-learn's estimators want them."""

from dataclasses import dataclass

import numpy as np

from pipeline.heads.class_weights import weigh_every_class
from pipeline.heads.head import TrainingRows
from pipeline.heads.rows.training_rows import LEAST_RELATIVE_SPREAD, check_rows, survey_rows
from pipeline.system.progress import OnProgress


@dataclass(frozen=True)
class RowsInMemory:
    """What an estimator is fitted on and judged by.

    Args:
        train: float32 `(n_train, n_features)`, raw: of images, and behind them of their augmented
            views, image by image.
        labels: int `(n_train,)`.
        units: int `(n_train,)`, equal for rows that belong together.
        val: float32 `(n_val, n_features)`, raw.
        val_labels: int `(n_val,)`.
        class_weights: float64 `(n_classes,)`.
        mean: float64 `(n_features,)`, of the train rows.
        scale: float64 `(n_features,)`, what centred features are divided by to have the spread 1.
        class_names: in the order of the labels.
        n_views: rows of each training image, each of which counts one `n_views`-th.
    """

    train: np.ndarray
    labels: np.ndarray
    units: np.ndarray
    val: np.ndarray
    val_labels: np.ndarray
    class_weights: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    class_names: tuple[str, ...]
    n_views: int = 1

    @property
    def n_images(self) -> int:
        """How many images train; their rows come first."""
        return len(self.train) // self.n_views

    @property
    def sample_weights(self) -> np.ndarray:
        """What each train row counts, float64 `(n_train,)`."""
        weights: np.ndarray = self.class_weights[self.labels] / self.n_views
        return weights

    @property
    def weight_of_class(self) -> dict[int, float]:
        """As scikit-learn's `class_weight` has it."""
        return dict(enumerate(self.class_weights.tolist()))

    def standardise(self, rows: np.ndarray) -> np.ndarray:
        """Rows with the mean 0 and the spread 1 of each feature, float64."""
        standard: np.ndarray = (rows.astype(np.float64) - self.mean) / self.scale
        return standard


def read_rows(
    rows: TrainingRows, class_weight: str | None, *, needs_val: bool, on_progress: OnProgress
) -> RowsInMemory:
    """Checks the rows and reads them.

    Raises:
        SplitError: fewer than two classes, a class without train rows, or no validation rows where
            they are needed.
        ParameterError: a feature is not finite.
    """
    names = tuple(map(str, rows.class_names))
    check_rows(rows.features, rows.labels, rows.is_train, rows.is_val, names, needs_val=needs_val)
    survey = survey_rows(rows.features, rows.is_train, on_progress)
    scale = np.where(survey.spread == 0, 1.0, survey.spread)
    train, val = np.flatnonzero(rows.is_train), np.flatnonzero(rows.is_val)
    units = np.arange(len(rows.labels)) if rows.units is None else rows.units
    return RowsInMemory(
        train=rows.features[train],
        labels=rows.labels[train],
        units=units[train],
        val=rows.features[val] if len(val) else np.empty((0, rows.features.shape[1]), np.float32),
        val_labels=rows.labels[val],
        class_weights=weigh_every_class(class_weight, rows.labels[train], names),
        mean=survey.mean,
        scale=np.maximum(scale, LEAST_RELATIVE_SPREAD * np.abs(survey.mean)),
        class_names=names,
        n_views=rows.n_views,
    )
