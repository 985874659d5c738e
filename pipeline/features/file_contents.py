"""What the tables of a feature file must be: types, lengths, and values that make sense.

A right seal says nothing of who wrote a file, so its tables are not believed.
"""

from pathlib import PurePath
from typing import TYPE_CHECKING

import h5py
import numpy as np

from pipeline.images.splits import NO_SPLIT, SPLITS, UNLABELLED
from pipeline.system.expected_tables import Table

if TYPE_CHECKING:
    from pipeline.features.feature_file import Contents


def _tables_of_images(group: str, n_images: str, *, is_optional: bool = False) -> dict[str, Table]:
    return {
        f"{group}path": Table(None, (n_images,), is_optional),
        f"{group}digest": Table(np.uint8, (n_images, 32), is_optional),
        f"{group}size": Table(np.int64, (n_images,), is_optional),
        f"{group}mtime_ns": Table(np.int64, (n_images,), is_optional),
        f"{group}ctime_ns": Table(np.int64, (n_images,), is_optional=True),
        f"{group}inode": Table(np.uint64, (n_images,), is_optional=True),
    }


FEATURE_TABLES = {
    "features": Table(np.float32, ("n_samples", "n_features")),
    "views": Table(np.float32, ("n_samples", "n_augmented", "n_features"), is_optional=True),
    **_tables_of_images("", "n_samples"),
    "label": Table(np.int32, ("n_samples",)),
    "split": Table(np.int8, ("n_samples",)),
    "arrival": Table(np.int32, ("n_samples",), is_optional=True),
    **_tables_of_images("skipped/", "n_skipped"),
    "skipped/reason": Table(None, ("n_skipped",)),
    "retired/digest": Table(np.uint8, ("n_retired", 32)),
    "retired/arrival": Table(np.int32, ("n_retired",), is_optional=True),
    "retired/features": Table(np.float32, ("n_retired", "n_features")),
    "retired/views": Table(
        np.float32, ("n_retired", "n_augmented", "n_features"), is_optional=True
    ),
    "entry/class_name": Table(None, ("n_entry_classes",), is_optional=True),
    "entry/class": Table(np.int32, ("n_samples",), is_optional=True),
    "entry/arrival": Table(np.int32, ("n_samples",), is_optional=True),
    "entry/gone/path": Table(None, ("n_gone",), is_optional=True),
    "entry/gone/digest": Table(np.uint8, ("n_gone", 32), is_optional=True),
    "entry/gone/class": Table(np.int32, ("n_gone",), is_optional=True),
    "entry/gone/arrival": Table(np.int32, ("n_gone",), is_optional=True),
    **_tables_of_images("shard/seen/", "n_seen", is_optional=True),
    "shard/seen/label": Table(np.int32, ("n_seen",), is_optional=True),
    "shard/seen/split": Table(np.int8, ("n_seen",), is_optional=True),
    "shard/compared/digest": Table(np.uint8, ("n_compared", 32), is_optional=True),
    "shard/compared/features": Table(np.float32, ("n_compared", "n_features"), is_optional=True),
    "probe/row": Table(np.int64, ("n_probes",)),
    "probe/pixels": Table(np.uint8, ("n_probes", "height", "width", 3)),
}

PART_TABLES = {
    "features": Table(np.floating, ("n_rows", "n_features")),
    "digest": Table(np.uint8, ("n_rows", 32)),
}


def check_contents(contents: "Contents", lengths: dict[str, int]) -> None:
    """Whether the values make sense: ranges, names, pictures of the recipe's size.

    Args:
        lengths: of the tables, by the names that `FEATURE_TABLES` has for them.

    Raises:
        ValueError: one does not.
    """
    n_samples, names = len(contents.images), contents.class_names
    n_features = lengths["n_features"]
    if n_samples == 0 or n_features == 0:
        raise ValueError(f"there are no features: {n_samples} rows of {n_features}")
    if len(set(names)) != len(names) or not all(map(_is_name, names)):
        raise ValueError("`class_names` should be different names that can be written")
    n_augmented = 0 if contents.views is None else len(contents.views.augmented)
    if lengths.get("n_augmented", 0) != n_augmented:
        raise ValueError(
            f"there should be {n_augmented} augmented views of each image, and are "
            f"{lengths.get('n_augmented', 0)}"
        )
    _check_range("label", contents.labels, UNLABELLED, len(names) - 1)
    _check_range("split", contents.splits, NO_SPLIT, len(SPLITS) - 1)
    _check_range("arrival", contents.arrivals, 0, None)
    _check_range("retired/arrival", contents.retired_arrivals, 0, None)
    _check_range("probe/row", contents.probe_rows, 0, n_samples - 1)
    side = contents.recipe.image_size
    if len(contents.probe_rows) and contents.probe_pixels.shape[1:3] != (side, side):
        raise ValueError(
            f"the probes should be of {side} x {side} pixels, and are {contents.probe_pixels.shape}"
        )
    if PurePath(contents.data_name).name != contents.data_name:  # it would lead out of runs/
        raise ValueError(f"`data_name` should be the name of a folder, not {contents.data_name!r}")
    for text in (contents.data_root, contents.data_name, contents.weights_source):
        if "\0" in text:
            raise ValueError(f"a path holds a zero byte: {text!r}")
    if not contents.engines:
        raise ValueError("`engines` is empty")


def read_text(file: h5py.File, name: str) -> str:
    """An attribute that is a text.

    Raises:
        ValueError: it is something else, or is not there.
    """
    value = file.attrs.get(name)
    if not isinstance(value, str):
        raise ValueError(f"the attribute {name!r} should be a text, and is {type(value).__name__}")
    return value


def read_whole_number(file: h5py.File, name: str) -> int:
    """An attribute that is a whole number, at least 0.

    Raises:
        ValueError: it is something else, or is not there.
    """
    value = file.attrs.get(name)
    if not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"the attribute {name!r} should be a whole number from 0, and is {value}")
    return int(value)


def _is_name(name: str) -> bool:
    """Not empty, and made of letters or of a file name's stray bytes."""
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return name != ""


def _check_range(name: str, values: np.ndarray, least: int, most: int | None) -> None:
    if len(values) == 0:
        return
    lowest, highest = int(values.min()), int(values.max())
    if lowest < least or (most is not None and highest > most):
        limits = f"from {least}" if most is None else f"{least} to {most}"
        raise ValueError(
            f"the table {name!r} should hold {limits}, and holds {lowest} to {highest}"
        )
