"""What `extract` gives: the feature file, what was done, and the features as arrays."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.features.feature_file import Contents, FeatureFile
from pipeline.features.split_rows import divide_images
from pipeline.features.summary import ExtractSummary
from pipeline.images.splits import NO_SPLIT, SPLITS


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
class Extraction:
    """A feature file that is up to date.

    Args:
        path: of the file.
        summary: what was kept, computed and skipped.
    """

    path: Path
    summary: ExtractSummary

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
    ) -> Arrays:
        """The features, the labels and a division of the images; `fit-head` makes the same one.

        Args:
            val_fraction: share of the images for validation, where the source gives no such split.
            test_fraction: likewise for the test.
            seed: decides which.
            group_by: a regular expression that finds an image's group in its path; images of a
                group are never divided.

        Raises:
            FeatureFileError: the file is damaged.
            SplitError: a class is too small to be divided.
        """
        with FeatureFile(self.path) as file:
            contents, features = file.contents, file.read_all()
        division = divide_images(
            contents,
            val_fraction=val_fraction,
            test_fraction=test_fraction,
            seed=seed,
            group_by=group_by,
        )
        return Arrays(features, contents.labels, division.splits)

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

    def _read_contents(self) -> Contents:
        with FeatureFile(self.path) as file:
            return file.contents
