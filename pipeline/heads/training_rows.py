"""What both heads ask of the rows they are fitted on, before any work is done."""

import numpy as np

from pipeline.errors import FeatureFileError, SplitError

# A feature that varies less than this share of its mean carries float32 rounding, not the image;
# unscaled noise is harmless, noise scaled to unit variance is not.
LEAST_RELATIVE_SPREAD = 1e-4

ROWS_PER_BLOCK = 8192


def check_rows(features, labels, is_train, is_val, class_names, *, needs_val: bool = True) -> None:
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
        FeatureFileError: a feature is not finite.
        ValueError: shapes or labels that do not fit each other.
    """
    n_samples, n_classes = len(features), len(class_names)
    shapes = [np.shape(array) for array in (labels, is_train, is_val)]
    if np.ndim(features) != 2 or shapes != [(n_samples,)] * 3:
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
        missing = [str(class_names[i]) for i in np.flatnonzero(counts == 0)]
        raise SplitError(
            f"Every class needs at least one train image. Received: none of {', '.join(missing)}. "
            "Add images, change the split, or leave the class out"
        )
    if needs_val and not is_val.any():
        raise SplitError(
            "Validation rows are needed to choose by (C, or the epoch to stop at). Received: none. "
            "Use a validation fraction above 0, or a logistic head with a given C"
        )
    for start in range(0, n_samples, ROWS_PER_BLOCK):
        finite = np.isfinite(features[start : start + ROWS_PER_BLOCK]).all(axis=1)
        if not finite.all():
            row = start + int(np.flatnonzero(~finite)[0])
            raise FeatureFileError(
                f"Features must be finite numbers. Received: NaN or infinity in row {row}. "
                "Extract the features again, in float32 if a reduced precision was used"
            )
