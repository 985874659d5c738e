"""How much each class counts while a head is fitted or a model fine-tuned."""

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import ClassWeightError
from pipeline.system.paths import open_regular_file
from pipeline.system.printable import name_some

BALANCED = "balanced"


def weigh_classes(
    wanted: str | None, train_labels: np.ndarray, class_names: list[str]
) -> np.ndarray | None:
    """The weight of each class.

    Args:
        wanted: None, `balanced`, or the path of a JSON file `{"class": weight, ...}` or of a CSV
            with a line `class,weight` each (a header of these two words may be there).
        train_labels: int (n_train,), indices into `class_names`.

    Returns:
        float64 (n_classes,), None for None. Balanced weights are `n_train / (n_classes * count)`:
        the classes' sums of weights are equal (scikit-learn's formula).

    Raises:
        ClassWeightError: the file cannot be read, or does not give each class one weight above 0.
    """
    if wanted is None:
        return None
    if wanted == BALANCED:
        counts = np.bincount(train_labels, minlength=len(class_names))
        return len(train_labels) / (len(class_names) * np.maximum(counts, 1))
    path = Path(wanted)
    pairs = _read_pairs(path)
    _require_each_class_once([name for name, _ in pairs], class_names, path)
    weights = {name: _parse_weight(name, value, path) for name, value in pairs}
    return np.array([weights[name] for name in class_names], np.float64)


def weigh_every_class(
    wanted: str | None, train_labels: np.ndarray, class_names: Sequence[str]
) -> np.ndarray:
    """As `weigh_classes`, with 1 for every class where no weights are wanted."""
    weights = weigh_classes(wanted, train_labels, list(class_names))
    return np.ones(len(class_names)) if weights is None else weights.astype(np.float64)


def _read_pairs(path: Path) -> list[tuple[str, Any]]:
    """(class, weight as it is written) of each entry."""
    try:
        with open_regular_file(path) as file:
            text = file.read().decode("utf-8-sig")
        if path.suffix.lower() == ".json":
            return _read_json_pairs(text)
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
        pairs = [(name.strip(), value.strip()) for name, value in rows]
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise ClassWeightError(
            f"The class weights cannot be read: {why}. Expected balanced, none, a JSON file "
            '{"class": weight, ...} or a CSV file with a line class,weight for each class. '
            f"Received: `class_weight={path}`"
        ) from error
    is_header = bool(pairs) and [word.lower() for word in pairs[0]] == ["class", "weight"]
    return pairs[1:] if is_header else pairs


def _read_json_pairs(text: str) -> list[tuple[str, Any]]:
    """The pairs of an object, those with the same name as well: they are told of, none wins."""
    pairs = json.loads(text, object_pairs_hook=tuple)  # so a list stays a list
    if not isinstance(pairs, tuple):
        raise ValueError("it holds no object")
    return list(pairs)


def _require_each_class_once(names: list[str], class_names: list[str], path: Path) -> None:
    unknown = sorted(set(names) - set(class_names))
    missing = [name for name in class_names if name not in set(names)]
    repeated = [name for name, count in Counter(names).items() if count > 1]
    wrong = {"unknown": unknown, "missing": missing, "there twice": repeated}
    if any(wrong.values()):
        words = "; ".join(f"{how}: {name_some(which)}" for how, which in wrong.items() if which)
        raise ClassWeightError(
            f"The file with class weights does not fit the classes. Expected one weight for each "
            f"of {name_some(class_names)}. Received: `class_weight={path}`, with {words}"
        )


def _parse_weight(name: str, value: Any, path: Path) -> float:
    try:
        weight = float(value)  # a number in JSON, text in CSV
    except (TypeError, ValueError):
        weight = math.nan
    if not 0 < weight < math.inf:
        raise ClassWeightError(
            f"The weight of class {name!r} is not one. Expected a number above 0. "
            f"Received: {value!r} in `class_weight={path}`"
        )
    return weight
