"""What people give to `fit` as rows of numbers: checked, and each mistake named by its parameter.

Arrays and lists, names and indices, None for what there is none of.
"""

import os
from collections import Counter
from collections.abc import Iterable
from numbers import Integral, Number
from typing import Any

import numpy as np

from pipeline.errors import ParameterError
from pipeline.heads.head import FeatureArray, TrainingRows
from pipeline.images.splits import NO_SPLIT, SPLITS, TRAIN, UNLABELLED, VAL

_NO_NUMBERS = "USMmc"  # numpy's kinds of text, dates, durations and complex numbers
_N_SHOWN = 10


def arrange_rows(
    features: Any, labels: Any, split: Any, class_names: Any, groups: Any = None
) -> tuple[TrainingRows, np.ndarray]:
    """The rows with labels and splits as numbers, and the splits, int8 `(n_samples,)`.

    Args:
        features, labels, split, class_names, groups: as `fit` takes them.

    Raises:
        ParameterError: one of them makes no sense, or they do not fit each other.
    """
    rows = _read_features(features)
    columns = {"labels": _to_array(labels, "labels"), "split": _to_array(split, "split")}
    if groups is not None:
        columns["groups"] = _to_array(groups, "groups")
    for name, array in columns.items():
        if array.shape != (len(rows),):
            raise ParameterError(
                f"Expected one of `{name}` for each of the {len(rows):,} rows of `features`. "
                f"Received: shape {array.shape}",
                name,
            )
    names = None if class_names is None else _check_names(class_names)
    numbers, names = _number_labels(columns["labels"], names)
    splits = _number_splits(columns["split"])
    splits = np.where(numbers == UNLABELLED, NO_SPLIT, splits).astype(np.int8)
    units = None if groups is None else _number_groups(columns["groups"])
    return TrainingRows(rows, numbers, splits == TRAIN, splits == VAL, names, units), splits


def _number_groups(groups: np.ndarray) -> np.ndarray:
    """Groups as numbers from 0, int64."""
    try:
        return np.unique(groups, return_inverse=True)[1].astype(np.int64)
    except TypeError as error:  # of kinds that cannot be compared
        raise ParameterError(
            "Expected `groups` to be names or numbers, a group for each row. Received: an array "
            f"of {groups.dtype}, of which numpy says: {error}",
            "groups",
        ) from error


def _read_features(features: Any) -> FeatureArray:
    rows: FeatureArray = features if _is_sliced_like_an_array(features) else _to_numbers(features)
    if len(rows.shape) != 2 or 0 in rows.shape:
        raise ParameterError(
            "Expected `features` of shape (n_samples, n_features), with a sample and a feature at "
            f"least. Received: shape {tuple(rows.shape)}",
            "features",
        )
    return rows


def _is_sliced_like_an_array(features: Any) -> bool:
    """Whether slices of it are arrays, so that it need not be one: it may lie in a file."""
    shape = getattr(features, "shape", None)
    is_table = isinstance(shape, tuple) and len(shape) == 2 and not isinstance(features, np.ndarray)
    return is_table and isinstance(features[:1], np.ndarray)


def _to_numbers(features: Any) -> np.ndarray:
    """Float32, as it was given where it is that already."""
    if isinstance(features, (str, bytes, os.PathLike)):
        raise _wrong_features(
            f"{type(features).__name__}. `frostline.features(...).arrays()` gives those of a "
            "feature file; `frostline.fit_head(...)` takes the file itself"
        )
    array = _to_array(features, "features")
    if array.ndim == 0:
        raise _wrong_features(type(features).__name__)
    if array.dtype.kind in _NO_NUMBERS:
        raise _wrong_features(f"an array of {array.dtype}")
    try:
        with np.errstate(over="raise"):
            return np.ascontiguousarray(array, np.float32)
    except (FloatingPointError, OverflowError) as error:
        raise _wrong_features("a number that is not finite as float32, above 3.4e38") from error
    except (TypeError, ValueError) as error:
        raise _wrong_features(f"an array of {array.dtype}: {error}") from error


def _wrong_features(received: str) -> ParameterError:
    return ParameterError(
        "Expected `features` to be numbers, (n_samples, n_features): an array, or what is sliced "
        f"like one. Received: {received}",
        "features",
    )


def _to_array(values: Any, parameter: str) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ParameterError(
            f"Expected `{parameter}` to be an array, or a list with rows of one length. "
            f"Received: {type(values).__name__}, of which numpy says: {error}",
            parameter,
        ) from error


def _check_names(class_names: Any) -> list[str]:
    """The names as a list, each a text of its own; numbers may stand for names."""
    is_list = isinstance(class_names, Iterable) and not isinstance(class_names, (str, bytes))
    names = list(class_names) if is_list else []
    if not is_list or not all(isinstance(name, (str, Integral)) and name != "" for name in names):
        raise ParameterError(
            f"Expected `class_names` to be a list of names. Received: {class_names!r}",
            "class_names",
        )
    names = list(map(str, names))
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ParameterError(
            f"Expected each of `class_names` once. Received: {_list_some(repeated)} more than once",
            "class_names",
        )
    return names


def _number_labels(labels: np.ndarray, names: list[str] | None) -> tuple[np.ndarray, list[str]]:
    """Indices into the class names, int32, and these."""
    if np.issubdtype(labels.dtype, np.integer):
        return _check_indices(labels, names)
    is_none = np.array([label is None for label in labels.tolist()])
    given = labels[~is_none].tolist()
    if given and all(isinstance(n, Integral) and not isinstance(n, bool) for n in given):
        return _check_indices(np.where(is_none, UNLABELLED, labels), names)
    if not all(isinstance(label, str) for label in given):
        raise ParameterError(
            "Expected `labels` to be names of classes or whole numbers. Received: an array of "
            f"{labels.dtype}",
            "labels",
        )
    return _find_names([label or "" for label in labels.tolist()], names)


def _check_indices(
    labels: np.ndarray, class_names: list[str] | None
) -> tuple[np.ndarray, list[str]]:
    """Whole numbers of any type as int32; without names these are the numbers from 0."""
    least, most = int(labels.min()), int(labels.max())
    n_present = len(np.unique(labels[labels >= 0]))
    if class_names is None and most >= len(labels):  # so many names would only fill the memory
        raise ParameterError(
            "Expected `labels` to be names of classes, indices into `class_names`, or numbers from "
            f"0 without a gap. Received: {n_present:,} different numbers up to {most:,}",
            "labels",
        )
    names = list(map(str, range(most + 1))) if class_names is None else class_names
    if n_present > len(names):
        raise _too_few_names(n_present, names)
    if least < UNLABELLED or most >= len(names):
        raise ParameterError(
            f"Expected `labels` from -1 (none) to {len(names) - 1}. Received: {least} to {most}",
            "labels",
        )
    return labels.astype(np.int32), names


def _find_names(labels: list[str], class_names: list[str] | None) -> tuple[np.ndarray, list[str]]:
    """Names as int32 indices; without class names these are the labels found, sorted."""
    found = sorted(set(map(str, labels)) - {""})
    names = found if class_names is None else class_names
    unknown = sorted(set(found) - set(names))
    if len(found) > len(names):
        raise _too_few_names(len(found), names)
    if unknown:
        raise ParameterError(
            f"Expected `labels` to be among `class_names`: {_list_some(names)}. Received: "
            f"{_list_some(unknown)}",
            "labels",
        )
    index = {"": UNLABELLED} | {name: number for number, name in enumerate(names)}
    return np.array([index[label] for label in labels], np.int32), names


def _too_few_names(n_classes: int, names: list[str]) -> ParameterError:
    return ParameterError(
        f"Expected `class_names` to name all {n_classes:,} classes of `labels`. Received: "
        f"{len(names):,} names: {_list_some(names)}",
        "class_names",
    )


def _list_some(names: list[str]) -> str:
    more = len(names) - _N_SHOWN
    return ", ".join(names[:_N_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _number_splits(split: np.ndarray) -> np.ndarray:
    """0 train, 1 val, 2 test, -1 none, int8."""
    number_of: dict[Any, int] = {name: number for number, name in enumerate(SPLITS)}
    number_of |= {number: number for number in range(len(SPLITS))}
    number_of |= dict.fromkeys(("", None, NO_SPLIT), NO_SPLIT)
    values = split.tolist()
    found = [
        number_of.get(value) if isinstance(value, (str, Number, type(None))) else None
        for value in values
    ]
    if None in found:
        raise ParameterError(
            f"Expected `split` to be of {', '.join(SPLITS)} and an empty text or None, or of 0, 1, "
            f"2 and -1. Received: {values[found.index(None)]!r}",
            "split",
        )
    return np.array(found, np.int8)
