"""Fits a head on rows of features. Pure: it reads no file, writes none and prints nothing.

(Class weights may be named by a file; that is read.)
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import numpy as np

from pipeline.errors import ParameterError
from pipeline.heads.head import Features, FittedHead, Head, Progress, TrainingRows
from pipeline.heads.registry import HEADS, HeadKind, find_head
from pipeline.heads.training_rows import split_rows
from pipeline.images.splits import NO_SPLIT, SPLITS, TRAIN, UNLABELLED, VAL
from pipeline.runs.scores import Metrics, score_splits
from pipeline.system.options import check_options


@dataclass(frozen=True)
class Fit:
    """A fitted head, and what it says of the rows that it was given.

    Args:
        kind: name of the head in the registry.
        head: ready to predict.
        class_names: in the order of the columns of probabilities.
        parameters: the head's options by name.
        chosen: what was chosen, in words such as `C = 1`.
        history: a record of losses and accuracies per epoch, or per value tried.
        x: name of the column that the history runs over.
        best: the value in it that was chosen.
        labels: int `(n_samples,)`, indices into `class_names`; -1 = none.
        splits: int8 `(n_samples,)`: 0 train, 1 val, 2 test, -1 none.
        probabilities: float32 `(n_samples, n_classes)`.
        metrics: scores by split.
        notes: sentences for people.
    """

    kind: str
    head: Head
    class_names: list[str]
    parameters: dict[str, Any]
    chosen: str
    history: list[dict[str, Any]]
    x: str
    best: int | float
    labels: np.ndarray
    splits: np.ndarray
    probabilities: np.ndarray
    metrics: dict[str, Metrics]
    notes: list[str]


def fit(
    features: Features | Sequence[Sequence[float]],
    labels: Sequence[int] | Sequence[str] | np.ndarray,
    *,
    split: Sequence[int] | Sequence[str] | np.ndarray,
    head: str = "logreg",
    class_names: Sequence[str] | None = None,
    seed: int = 0,
    on_progress: Progress = lambda stage, done, total: None,
    **options: Any,
) -> Fit:
    """Fits a head on rows of features.

    Args:
        features: float32 `(n_samples, n_features)`: an array, or anything that is sliced like one.
        labels: of each row a class's name (empty = none), or its index into `class_names` (-1 =
            none).
        split: of each row `train`, `val`, `test` or an empty text; or 0, 1, 2 or -1.
        head: name of a head in the registry.
        class_names: in the order of the probabilities' columns; None = sorted names as they are
            found, or numbers from 0.
        seed: decides all that the head leaves to chance.
        on_progress: called with a stage, the number done and the number to do.
        options: of the head's own, such as `C` of `logreg`; see `heads/options.py`.

    Returns:
        The `Fit`.

    Raises:
        HeadError: no such head.
        ParameterError: a value or an array that makes no sense, or an option of another head.
        SplitError: a class without train rows, or no validation rows to choose by.
        FeatureFileError: a feature is not finite.
    """
    kind = find_head(head)
    settings = make_options(kind, options)
    rows, splits = _arrange(features, labels, split, class_names)
    fitted = kind.import_fit()(rows, settings, seed=seed, on_progress=on_progress)
    # In blocks, so that a head gets plain arrays of a few megabytes whatever the features are.
    probabilities = np.concatenate(
        [fitted.head.predict_proba(rows.features[block]) for block in split_rows(rows.features)]
    )
    names = list(rows.class_names)
    metrics = score_splits(splits, rows.labels, probabilities, names)
    return Fit(
        kind=kind.name,
        head=fitted.head,
        class_names=names,
        parameters=asdict(settings),
        chosen=fitted.chosen,
        history=fitted.history or [_one_record(fitted, metrics)],
        x=fitted.x,
        best=fitted.best,
        labels=rows.labels,
        splits=splits,
        probabilities=probabilities,
        metrics=metrics,
        notes=fitted.notes,
    )


def make_options(kind: HeadKind, given: dict[str, Any]) -> Any:
    """The options of a kind of head, checked.

    Raises:
        ParameterError: a value makes no sense, or the head has no such option.
    """
    names = [entry.name for entry in fields(kind.options)]
    for name, value in given.items():
        if name not in names:
            others = [other.name for other in HEADS.values() if _has_option(other, name)]
            of_others = f" It is one of {' and '.join(others)}." if others else ""
            raise ParameterError(
                f"The head `{kind.name}` has no option `{name}`.{of_others} Expected some of "
                f"{', '.join(names) or 'none'}. Received: {name}={value!r}",
                name,
            )
    options = kind.options(**given)
    check_options(options, "fit a head")
    return options


def _has_option(kind: HeadKind, name: str) -> bool:
    return name in {entry.name for entry in fields(kind.options)}


def _arrange(
    features: Features | Sequence[Sequence[float]],
    labels: Sequence[int] | Sequence[str] | np.ndarray,
    split: Sequence[int] | Sequence[str] | np.ndarray,
    class_names: Sequence[str] | None,
) -> tuple[TrainingRows, np.ndarray]:
    """The rows with labels and splits as numbers, and the splits, int8 `(n_samples,)`."""
    if isinstance(features, (np.ndarray, list, tuple)):
        features = np.ascontiguousarray(features, np.float32)
    features = cast(Features, features)
    if len(features.shape) != 2 or not len(features):
        raise ParameterError(
            "Expected `features` of shape (n_samples, n_features), with a sample at least. "
            f"Received: shape {tuple(features.shape)}",
            "features",
        )
    numbers, names = _number_labels(np.asarray(labels), class_names)
    splits = _number_splits(np.asarray(split))
    for name, array in (("labels", numbers), ("split", splits)):
        if array.shape != (len(features),):
            raise ParameterError(
                f"Expected one of `{name}` for each of the {len(features):,} rows of `features`. "
                f"Received: shape {array.shape}",
                name,
            )
    splits = np.where(numbers == UNLABELLED, NO_SPLIT, splits).astype(np.int8)
    return TrainingRows(features, numbers, splits == TRAIN, splits == VAL, names), splits


def _number_labels(
    labels: np.ndarray, class_names: Sequence[str] | None
) -> tuple[np.ndarray, list[str]]:
    """Indices into the class names, int32, and these."""
    if np.issubdtype(labels.dtype, np.integer):
        n_classes = int(labels.max(initial=-1)) + 1
        names = list(map(str, range(n_classes) if class_names is None else class_names))
        if labels.min(initial=0) < UNLABELLED or n_classes > len(names):
            raise ParameterError(
                f"Expected `labels` from -1 (none) to {len(names) - 1}. Received: "
                f"{labels.min()} to {labels.max()}",
                "labels",
            )
        return labels.astype(np.int32), names
    if not all(isinstance(label, str) for label in labels.ravel().tolist()):
        raise ParameterError(
            "Expected `labels` to be names of classes or whole numbers. Received: an array of "
            f"{labels.dtype}",
            "labels",
        )
    found = sorted(set(labels.ravel().tolist()) - {""})
    names = list(map(str, found if class_names is None else class_names))
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise ParameterError(
            f"Expected `labels` to be among `class_names`: {', '.join(names)}. Received: "
            f"{', '.join(unknown)}",
            "labels",
        )
    index = {"": UNLABELLED} | {name: number for number, name in enumerate(names)}
    numbers = np.array([index[label] for label in labels.ravel().tolist()], np.int32)
    return numbers.reshape(labels.shape), names


def _number_splits(split: np.ndarray) -> np.ndarray:
    """0 train, 1 val, 2 test, -1 none, int8."""
    number_of: dict[Any, int] = {name: number for number, name in enumerate(SPLITS)}
    number_of |= {number: number for number in range(len(SPLITS))} | {"": NO_SPLIT, -1: NO_SPLIT}
    found = [number_of.get(value) for value in split.ravel().tolist()]
    if None in found:
        raise ParameterError(
            f"Expected `split` to be of {', '.join(SPLITS)} and an empty text, or of 0, 1, 2 and "
            f"-1. Received: {split.ravel()[found.index(None)]!r}",
            "split",
        )
    return np.array(found, np.int8).reshape(split.shape)


def _one_record(fitted: FittedHead, metrics: dict[str, Metrics]) -> dict[str, Any]:
    """The history of a head that tells none: what came out."""
    scores = {
        f"{split}_{name}": value
        for split in ("train", "val")
        if split in metrics
        for name, value in (
            ("loss", metrics[split].log_loss),
            ("accuracy", metrics[split].accuracy),
        )
    }
    return {fitted.x: fitted.best, **scores}
