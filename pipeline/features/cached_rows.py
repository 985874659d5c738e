"""Rows that feature files already have for the images of a data set, without reading an image."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import FeatureFileError
from pipeline.features.feature_file import Contents, FeatureFile
from pipeline.features.file_stamps import find_unchanged, read_stamps
from pipeline.images.augmentation.views import Views
from pipeline.images.dataset import Dataset
from pipeline.recipe import Recipe

Key = tuple[str, int, int]


@dataclass(frozen=True)
class CachedRows:
    """What is there already.

    Args:
        rows: int (n_cached,), which images of the data set.
        digests: uint8 (n_cached, 32), of them.
        features: float32 (n_cached, n_features).
        files: that the rows came from.
        views: float32 (n_cached, n_views - 1, n_features) of the augmented views, where they were
            asked for.
    """

    rows: np.ndarray
    digests: np.ndarray
    features: np.ndarray
    files: list[Path]
    views: np.ndarray | None = None


def read_cached_rows(
    dataset: Dataset, recipe: Recipe, files: Iterable[Path], views: Views | None = None
) -> CachedRows:
    """Takes the rows of all images whose files are unchanged since a feature file recorded them.

    Args:
        recipe: that the rows must have been made by.
        files: feature files; the first that has an image gives its row. One that is not there, is
            damaged or of another recipe is passed over.
        views: that are wanted besides; files with others, or none, are passed over then.
    """
    images = dataset.paths, dataset.sizes, dataset.mtimes
    wanted = {key: row for row, key in enumerate(_list_keys(dataset.root.resolve(), *images))}
    rows, digests, features, of_views, used = [], [], [], [], []
    for path in files:
        if not wanted or not path.is_file():
            continue
        try:
            with FeatureFile(path) as file:
                contents = file.contents
                is_alike = contents.recipe == recipe and views in (None, contents.views)
                found = _find_unchanged(wanted, dataset, contents) if is_alike else {}
                if not found:
                    continue
                here = np.fromiter(found.values(), np.int64, len(found))
                plain = file.read_rows(here).reshape(len(here), -1)
                if views is not None and file.views is not None:
                    of_views.append(file.views.read_images(here))
                features.append(plain)
        except FeatureFileError:
            continue  # evaluating does without it; `features` says what is wrong with it
        digests.append(contents.images.digests[here])
        rows += list(found)
        used.append(path)
        wanted = {key: row for key, row in wanted.items() if row not in found}
    return CachedRows(
        np.array(rows, np.int64),
        np.concatenate(digests) if digests else np.zeros((0, 32), np.uint8),
        np.concatenate(features) if features else np.zeros((0, 0), np.float32),
        used,
        np.concatenate(of_views) if of_views else None,
    )


def join_cached_rows(parts: Sequence[CachedRows]) -> CachedRows:
    """The rows that are there by each of several recipes, their features side by side.

    Args:
        parts: what is there by each, of one data set.
    """
    places = [{row: place for place, row in enumerate(part.rows.tolist())} for part in parts]
    common = sorted(set(places[0]).intersection(*places[1:]))
    taken = [np.array([of_part[row] for row in common], np.int64) for of_part in places]
    features = [part.features[own] for part, own in zip(parts, taken, strict=True)]
    return CachedRows(
        np.array(common, np.int64),
        parts[0].digests[taken[0]],
        np.concatenate(features, axis=1),
        list(dict.fromkeys(path for part in parts for path in part.files)),
    )


def _find_unchanged(wanted: dict[Key, int], dataset: Dataset, contents: Contents) -> dict[int, int]:
    """Row of the data set -> row of the file."""
    images = contents.images
    keys = _list_keys(Path(contents.data_root), images.paths, images.sizes, images.mtimes)
    pairs = [(wanted[key], row) for row, key in enumerate(keys) if key in wanted]
    here, there = np.array(pairs, np.int64).reshape(-1, 2).T
    now = read_stamps(dataset.root, [dataset.paths[row] for row in here.tolist()])
    is_unchanged = find_unchanged(images.stamps.at(there), now)
    return dict(zip(here[is_unchanged].tolist(), there[is_unchanged].tolist(), strict=True))


def _list_keys(
    root: Path, paths: Sequence[str], sizes: np.ndarray, mtimes: np.ndarray
) -> Iterator[Key]:
    """Absolute path, size and time of each image."""
    for path, size, mtime in zip(paths, sizes.tolist(), mtimes.tolist(), strict=True):
        yield f"{root}/{path}", size, mtime
