"""A feature file as a library gives it: its features as arrays, its images as a table."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import FeatureFileError
from pipeline.features.feature_file import Contents, FeatureFile, find_feature_files
from pipeline.features.near_duplicate_list import find_groups_to_keep
from pipeline.features.options import SplitOptions
from pipeline.features.split_rows import divide_images
from pipeline.features.summary import ExtractSummary
from pipeline.images.splits import NO_SPLIT, SPLITS
from pipeline.recipe import EngineRecord, Recipe
from pipeline.system.html_tables import html_table
from pipeline.system.options import check_options
from pipeline.system.paths import as_path, denial, is_folder
from pipeline.system.printable import name_some
from pipeline.system.sealed_hdf5 import verify_seal


class Arrays(NamedTuple):
    """The features of a file, in the order of its paths.

    Args:
        X: float32 (n_samples, n_features).
        y: int32 (n_samples,), index into the class names, -1 for an image without a label.
        split: int8 (n_samples,): 0 train, 1 val, 2 test, -1 for an image without a label.
    """

    X: np.ndarray
    y: np.ndarray
    split: np.ndarray


@dataclass(frozen=True)
class Features:
    """A feature file.

    Args:
        path: of the file.
    """

    path: Path

    def __fspath__(self) -> str:
        return str(self.path)

    def __len__(self) -> int:
        """How many images have features."""
        return len(self._read_contents().images)

    @property
    def recipe(self) -> Recipe:
        """What decided the features."""
        return self._read_contents().recipe

    @property
    def engines(self) -> tuple[EngineRecord, ...]:
        """What computed the rows."""
        return tuple(self._read_contents().engines)

    @property
    def class_names(self) -> list[str]:
        """What the labels are indices into."""
        return self._read_contents().class_names

    def arrays(
        self,
        *,
        val_fraction: float = 0.2,
        test_fraction: float = 0.0,
        seed: int = 0,
        group_by: str | None = None,
        split_rule: str | None = None,
        near_duplicates: str | None = None,
    ) -> Arrays:
        """The features, the labels and a division of the images; `fit-head` makes the same one.

        Args:
            val_fraction: share of the images for validation, where the source gives no such split.
            test_fraction: likewise for the test.
            seed: decides which.
            group_by: a regular expression that finds an image's group in its path; images of a
                group are never divided.
            split_rule: `exact` or `chance`, None = that of the file.
            near_duplicates: `together` in one split, as an audit found them, or `apart`; None =
                together, where there is an audit.

        Raises:
            ParameterError: a value makes no sense.
            FeatureFileError: the file is damaged.
            SplitError: a class is too small to be divided.
        """
        dividing = SplitOptions(
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            group_by=group_by,
            split_rule=split_rule,
            near_duplicates=near_duplicates,
            seed=seed,
        )
        check_options(dividing, "divide the images")
        with FeatureFile(self.path) as file:
            contents, features = file.contents, file.read_all()
        groups = find_groups_to_keep(self.path, near_duplicates)
        division = divide_images(contents, dividing, near_duplicates=groups)
        return Arrays(features, contents.labels, division.splits)

    def views(self) -> np.ndarray | None:
        """Features of the augmented views, float32 (n_samples, n_views - 1, n_features).

        Returns:
            None where the file has view 0 alone, whose features `arrays` gives.

        Raises:
            FeatureFileError: the file is damaged.
        """
        with FeatureFile(self.path) as file:
            return None if file.views is None else file.views.read_all()

    def table(self) -> dict[str, list[Any]]:
        """What is known of each image: columns of equal length, in the order of the rows.

        Returns:
            `path` below the data set's root; `label`, the class's name or None; `split`, what the
            source itself says or None; `digest`, sha256 of the file as hex digits; `size` in
            bytes. `pandas.DataFrame` takes it as it is.
        """
        contents = self._read_contents()
        images, names = contents.images, contents.class_names
        return {
            "path": list(images.paths),
            "label": [names[label] if label >= 0 else None for label in contents.labels.tolist()],
            "split": [
                SPLITS[split] if split != NO_SPLIT else None for split in contents.splits.tolist()
            ],
            "digest": [digest.tobytes().hex() for digest in images.digests],
            "size": images.sizes.tolist(),
        }

    def _repr_html_(self) -> str:
        """In a notebook: what is in the file."""
        with FeatureFile(self.path) as file:
            contents, (n_samples, n_features) = file.contents, file.shape
        n_labelled = int(np.sum(contents.labels >= 0))
        facts = {
            "backbone": f"{contents.recipe.backbone}, {contents.recipe.image_size} pixels",
            "images": f"{n_samples:,}, {n_labelled:,} with a label",
            "features": f"{n_features:,} of each",
            "classes": f"{len(contents.class_names):,}: {name_some(contents.class_names, 5)}",
            "made from": contents.data_root,
            "file": str(self.path),
        }
        return html_table(f"Features of {contents.data_name}", facts)

    def _read_contents(self) -> Contents:
        with FeatureFile(self.path) as file:
            return file.contents


@dataclass(frozen=True)
class Extraction(Features):
    """A feature file that was brought up to date.

    Args:
        summary: what was kept, computed and skipped.
    """

    summary: ExtractSummary


def open_features(path: str | os.PathLike[str], *, verify: bool = False) -> Features:
    """Opens a feature file.

    Args:
        verify: compare every byte with the file's seal, even where nothing of it is read.

    Raises:
        FeatureFileError: it is none, or is damaged.
    """
    features = Features(as_path(path, "path"))
    if verify:
        verify_seal(features.path)
    with FeatureFile(features.path):
        return features


def list_features(
    folder: str | os.PathLike[str] | None = None,
) -> tuple[list[Features], list[str]]:
    """The feature files of a folder, and a sentence for each that cannot be read.

    Args:
        folder: None = `cache/`, which need not exist.

    Raises:
        FeatureFileError: there is no such folder.
    """
    if folder is not None and not is_folder(as_path(folder, "folder")):
        raise FeatureFileError(
            f"There is no such folder. Expected one with feature files in it. "
            f"Received: {folder}{denial(Path(folder))}"
        )
    found, problems = find_feature_files(Path("cache" if folder is None else folder))
    return [Features(path) for path, _, _ in found], problems
