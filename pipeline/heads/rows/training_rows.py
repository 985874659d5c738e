"""What both heads ask of the rows they are fitted on, before any work is done.

Rows are looked at block by block: an array, or anything that is sliced like one, will do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import ParameterError, SplitError
from pipeline.features.sliced_rows import FeatureRows
from pipeline.heads.class_weights import BALANCED, weigh_classes
from pipeline.heads.head import FeatureArray
from pipeline.system.memory import available_bytes
from pipeline.system.parallel import count_cores, map_batches
from pipeline.system.progress import OnProgress

# A feature that varies less than this share of its mean carries float32 rounding, not the image;
# unscaled noise is harmless, noise scaled to unit variance is not.
LEAST_RELATIVE_SPREAD = 1e-4

N_SHOWN = 10  # of the classes that a message names
BLOCK_BYTES = 8 * 2**20
SAMPLE_BYTES = 32 * 2**20


def check_rows(
    features: FeatureArray,
    labels: np.ndarray,
    is_train: np.ndarray,
    is_val: np.ndarray,
    class_names: Sequence[str],
    *,
    needs_val: bool = True,
) -> None:
    """Checks that a head can be fitted on these rows; both heads ask this first.

    Args:
        features: `(n_samples, n_features)`.
        labels: int `(n_samples,)`.
        is_train: bool `(n_samples,)`.
        is_val: bool `(n_samples,)`.
        class_names: sequence of `n_classes` names.
        needs_val: whether validation rows are needed.

    Raises:
        SplitError: fewer than two classes, a class without train rows, or no validation rows.
        ValueError: shapes or labels that do not fit each other.
    """
    n_samples, n_classes = len(features), len(class_names)
    shapes = [np.shape(array) for array in (labels, is_train, is_val)]
    if len(features.shape) != 2 or shapes != [(n_samples,)] * 3:
        raise ValueError(
            "`features` must be (n_samples, n_features) and `labels`, `is_train`, `is_val` "
            f"(n_samples,). Received: features {np.shape(features)}, others {shapes}"
        )
    used = labels[is_train | is_val]
    if np.any(is_train & is_val) or (used.size and not 0 <= used.min() <= used.max() < n_classes):
        raise ValueError(
            "No row may be in train and val at once, and each of both needs a label in "
            f"0..{n_classes - 1}. Received: {int((is_train & is_val).sum())} rows in both, "
            f"labels from {used.min()} to {used.max()}"
        )
    if n_classes < 2:
        raise SplitError(
            "A head tells classes apart and needs at least two. "
            f"Received: {n_classes} ({', '.join(map(str, class_names))})"
        )
    counts = np.bincount(labels[is_train], minlength=n_classes)
    if not counts.all():
        missing = [str(class_names[i]) for i in np.flatnonzero(counts == 0).tolist()]
        more = len(missing) - N_SHOWN
        rest = f" and {more:,} more" if more > 0 else ""
        raise SplitError(
            "Every class needs at least one train image. Received: none of "
            f"{', '.join(missing[:N_SHOWN])}{rest}. "
            "Add images, change the split, or leave the class out"
        )
    if needs_val and not is_val.any():
        raise SplitError(
            "Validation rows are needed to choose by (C, or the epoch to stop at). Received: none. "
            "Have some validation images (`val_fraction` above 0, or a `split` with val in it), or "
            "a logistic head with a given C"
        )


def weigh_each_class(
    class_weight: str | np.ndarray | None, train_labels: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """The weight of each class, float64 `(n_classes,)`.

    Args:
        class_weight: None for all the same, `"balanced"`, or the weights themselves.
        train_labels: int `(n_train,)`, indices into `class_names`.
        class_names: sequence of `n_classes` names.

    Raises:
        ValueError: `class_weight` is none of these.
    """
    if isinstance(class_weight, np.ndarray):
        return class_weight.astype(np.float64)
    if class_weight not in (None, BALANCED):
        raise ValueError(
            '`class_weight` must be None, "balanced" or an array. '
            f"Received: class_weight={class_weight!r}"
        )
    weights = weigh_classes(class_weight, train_labels, list(class_names))
    return np.ones(len(class_names)) if weights is None else weights


def split_rows(features: FeatureArray, rows_per_block: int | None = None) -> list[slice]:
    """Slices of all rows in order, of about 8 MiB each, so that work stays in the caches."""
    n_samples, n_features = np.shape(features)
    step = rows_per_block or max(1, BLOCK_BYTES // (4 * max(1, n_features)))
    return [slice(start, min(n_samples, start + step)) for start in range(0, n_samples, step)]


@dataclass(frozen=True)
class Survey:
    """What one pass over the rows tells.

    Args:
        mean: float64 `(n_features,)`, of the train rows.
        spread: float64 `(n_features,)`, their standard deviation (of the population).
        sample: int64, row numbers of train rows, evenly spaced: all, or as many as 32 MiB hold.
        sample_rows: float32 `(len(sample), n_features)`, these rows.
    """

    mean: np.ndarray
    spread: np.ndarray
    sample: np.ndarray
    sample_rows: np.ndarray


def count_spare_bytes(features: FeatureArray) -> int:
    """What copies of rows may take in memory; nothing where rows are read again and again."""
    if isinstance(features, FeatureRows):
        return features.spare_bytes
    return available_bytes() // 4 if isinstance(features, np.ndarray) else 0


def survey_rows(
    features: FeatureArray,
    is_train: np.ndarray,
    on_progress: OnProgress = lambda stage, done, total: None,
) -> Survey:
    """Checks that all features are finite numbers and measures the train rows, block by block.

    Args:
        features: float32 `(n_samples, n_features)`, or anything sliced like it.
        is_train: bool `(n_samples,)`, at least one of them.
        on_progress: called with a stage, how many rows are looked at, and how many there are.

    Raises:
        ParameterError: a feature is not finite.
    """
    train = np.flatnonzero(is_train)
    n_features = np.shape(features)[1]
    n_sample = min(len(train), max(1, SAMPLE_BYTES // (4 * n_features)))
    sample = train[np.linspace(0, len(train) - 1, n_sample).astype(np.int64)]

    def survey(block: slice) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and told of
            rows = np.asarray(features[block], np.float32)
        _require_finite(rows, block.start)
        first, last = np.searchsorted(sample, [block.start, block.stop])
        sampled = rows[sample[first:last] - block.start]
        rows = rows[is_train[block]].astype(np.float64)
        mean = rows.mean(axis=0) if len(rows) else np.zeros(n_features)
        return len(rows), mean, np.square(rows - mean).sum(axis=0), sampled

    n_rows, mean, squares, parts = 0, np.zeros(n_features), np.zeros(n_features), []
    blocks = split_rows(features)
    surveyed = map_batches(survey, blocks, count_cores())
    for block, (n_more, more_mean, more_squares, sampled) in zip(blocks, surveyed, strict=True):
        parts.append(sampled)
        on_progress("Surveying", block.stop, len(features))
        if n_more:
            # Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
            # sample variances", 1979.
            n_all, shift = n_rows + n_more, more_mean - mean
            mean = mean + shift * (n_more / n_all)
            squares = squares + more_squares + shift**2 * (n_rows * n_more / n_all)
            n_rows = n_all
    return Survey(mean, np.sqrt(squares / n_rows), sample, np.concatenate(parts))


def _require_finite(rows: np.ndarray, first: int) -> None:
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        row = first + int(np.flatnonzero(~finite)[0])
        raise ParameterError(
            f"Features must be finite numbers. Received: NaN or infinity in row {row}", "features"
        )
