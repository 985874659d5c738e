"""The feature files of a sweep: the same images, divided alike, whatever made their features."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import DatasetError, FeatureFileError, SplitError
from pipeline.features.feature_file import FeatureFile
from pipeline.features.sliced_rows import FeatureRows
from pipeline.heads.fit_options import FitOptions
from pipeline.heads.head import TrainingRows
from pipeline.heads.rows.divided_file import DividedFile, divide_file
from pipeline.heads.rows.views_of_file import require_no_views
from pipeline.images.splits import NO_SPLIT, SPLITS, TRAIN, VAL
from pipeline.system.printable import count


@dataclass(frozen=True)
class SweptFile:
    """A feature file of a sweep.

    Args:
        path: of the file.
        seal: sha256 of it, hex.
        backbone: name.
        image_size: side in pixels of what the backbone sees.
        n_features: of each image.
        n_bytes: of the file.
        name: tells it from the other files of the sweep.
    """

    path: Path
    seal: str
    backbone: str
    image_size: int
    n_features: int
    n_bytes: int
    name: str


def describe_files(
    paths: Sequence[Path], checked: FitOptions, given: dict[str, Any]
) -> tuple[list[SweptFile], DividedFile]:
    """Looks into each file; nothing is fitted yet.

    Returns:
        The files, and the images of the first as they are divided: those of the others are the
        same.

    Raises:
        DatasetError: the files do not hold the same images, or these cannot tell classes apart.
        FeatureFileError, ParameterError: one of them cannot be read, or a question makes no sense.
        SplitError: there are no validation images to choose by.
    """
    found: list[SweptFile] = []
    first: DividedFile | None = None
    for path in paths:
        with FeatureFile(path) as file:
            require_no_views(file, checked.viewing)
            divided = divide_file(file.contents, path, checked, given)
            recipe = file.contents.recipe
            swept = SweptFile(
                path,
                file.seal,
                recipe.backbone,
                recipe.image_size,
                file.n_features,
                path.stat().st_size,
                "",
            )
        if first is None:
            first = divided
            _require_val(divided, path)
        _require_same(first, divided, paths[0], path)
        found.append(swept)
    if first is None:
        raise DatasetError("Expected a feature file or more. Received: none")
    return _name_apart(found), first


def _require_val(divided: DividedFile, path: Path) -> None:
    if not np.any(divided.division.splits == VAL):
        raise SplitError(
            "A sweep chooses by validation images. Expected some. Received: none in "
            f"{path}\nHave some: `val_fraction` above 0, or a split `val` in the data set."
        )


def _require_same(first: DividedFile, other: DividedFile, path: Path, other_path: Path) -> None:
    """Settings on different images cannot be told apart from the luck of the images."""
    one, two = first.contents, other.contents
    pairs = {
        "images": (one.images.digests, two.images.digests),
        "labels": (one.labels, two.labels),
        "splits": (first.division.splits, other.division.splits),
    }
    differing = [name for name, (a, b) in pairs.items() if not np.array_equal(a, b)]
    if one.class_names != two.class_names:
        differing.append("classes")
    if differing:
        raise DatasetError(
            f"These files do not have the same {' and '.join(differing)}. Expected feature files "
            f"of one data set, so that all are judged by the same images. Received: {path} with "
            f"{count(len(one.images), 'image')} and {other_path} with "
            f"{count(len(two.images), 'image')}\nExtract both again from the same folder, or sweep "
            "each by itself."
        )


def _name_apart(files: list[SweptFile]) -> list[SweptFile]:
    """By the backbone, with the image size or the file's name where that is not enough."""
    ways = [
        lambda one: one.backbone,
        lambda one: f"{one.backbone} {one.image_size} px",
        lambda one: one.path.name,
        lambda one: str(one.path),
    ]
    for way in ways:
        names = [way(one) for one in files]
        if len(set(names)) == len(names):
            break
    return [replace(one, name=name) for one, name in zip(files, names, strict=True)]


@contextmanager
def open_rows(
    swept: SweptFile, divided: DividedFile, memory: int
) -> Iterator[tuple[TrainingRows, bool]]:
    """Gives the rows of train and val, and whether their features are in an array in memory.

    Rows of the test and those without a label have neither label nor split: nobody can look at
    them by mistake.

    Args:
        swept: the feature file.
        divided: its images.
        memory: bytes for features.

    Raises:
        FeatureFileError: the features are damaged, or another file has the name now.
    """
    splits = divided.division.splits
    is_used = np.isin(splits, (TRAIN, VAL))
    with FeatureFile(swept.path) as file:
        _require_unchanged(file, swept)
        features = FeatureRows(file, memory)
        is_whole = features.n_kept == len(features)
        rows = TrainingRows(
            features[:] if is_whole else features,
            np.where(is_used, divided.contents.labels, -1).astype(np.int32),
            splits == TRAIN,
            splits == VAL,
            list(divided.contents.class_names),
            divided.division.units,
        )
        yield rows, is_whole


def require_unchanged(swept: SweptFile) -> None:
    """Raises a FeatureFileError where another file has the name now."""
    with FeatureFile(swept.path) as file:
        _require_unchanged(file, swept)


def _require_unchanged(file: FeatureFile, swept: SweptFile) -> None:
    if file.seal != swept.seal:
        raise FeatureFileError(
            "The feature file was replaced while the sweep was going on. Expected the one that it "
            f"began with. Received: another one at {swept.path}\nRun the same command again: it "
            "sweeps the new file."
        )


def describe_hidden(splits: np.ndarray) -> list[str]:
    """Says which images took no part in the choice."""
    n_hidden = int(np.sum((splits != NO_SPLIT) & ~np.isin(splits, (TRAIN, VAL))))
    if not n_hidden:
        return []
    return [
        f"{count(n_hidden, f'{SPLITS[2]} image')} took no part in the sweep: they score the chosen "
        "head alone, once."
    ]
