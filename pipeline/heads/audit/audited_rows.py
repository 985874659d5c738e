"""What every check of an audit gets: the images of a feature file, and what is known of them."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from pipeline.features.feature_file import Contents
from pipeline.heads.audit.near_duplicates.find import NearDuplicates, search_near_duplicates
from pipeline.heads.audit.neighbours import Neighbours, find_neighbours
from pipeline.heads.audit.out_of_sample import LeftOut, leave_each_out
from pipeline.heads.head import FeatureArray
from pipeline.images.decoding.looks import Look, look_at_file
from pipeline.images.splits import UNLABELLED
from pipeline.system.parallel import count_cores, map_batches
from pipeline.system.progress import OnProgress


@dataclass(frozen=True)
class AuditedRows:
    """The images of a feature file; arrays have `n_samples` rows, in the order of its paths.

    Args:
        features: float32 `(n_samples, n_features)`; nothing but slices and arrays of row numbers is
            taken of them, for they may lie in a file.
        contents: of the feature file: recipe, digests, labels, what the source says of splits.
        splits: int8, as `fit_head` divides the images unless told otherwise: 0 train, 1 val,
            2 test, -1 for an image without a label.
        units: int, equal for rows that belong together: equal images, those of one group.
        root: folder that the paths are relative to; None where the images are not at hand, so that
            nothing can be said of files and pixels.
        seed: decides what is left to chance.
        on_progress: called with a stage, the number done and the number to do.
    """

    features: FeatureArray
    contents: Contents
    splits: np.ndarray
    units: np.ndarray
    root: Path | None = None
    seed: int = 0
    on_progress: OnProgress = lambda stage, done, total: None

    def __len__(self) -> int:
        return len(self.contents.images)

    @property
    def paths(self) -> list[str]:
        """Relative to the data set's root."""
        return self.contents.images.paths

    @property
    def digests(self) -> np.ndarray:
        """Uint8 `(n_samples, 32)`, sha256 of the files."""
        return self.contents.images.digests

    @property
    def labels(self) -> np.ndarray:
        """Int32, indices into `class_names`, -1 = none."""
        return self.contents.labels

    @property
    def given_splits(self) -> np.ndarray:
        """Int8, what the source itself says, -1 = nothing."""
        return self.contents.splits

    @property
    def class_names(self) -> list[str]:
        return self.contents.class_names

    @property
    def labelled(self) -> np.ndarray:
        """Numbers of the rows that have a label."""
        return np.flatnonzero(self.labels != UNLABELLED)

    @cached_property
    def neighbours(self) -> Neighbours:
        """The ten nearest other images of each; found when it is first asked for, and kept."""
        return find_neighbours(self.features, self.digests, self.on_progress)

    @cached_property
    def near_duplicates(self) -> NearDuplicates | None:
        """Images that show one picture; None where the files are not at hand, or too few."""
        if self.root is None:
            return None
        return search_near_duplicates(
            self.features, self.contents, self.neighbours, self.root, self.seed, self.on_progress
        )

    @cached_property
    def left_out(self) -> LeftOut | None:
        """What each image with a label is taken for by heads that never saw it; None without two
        classes.
        """
        n_classes = len(self.class_names)
        return leave_each_out(self.features, self.labels, self.units, n_classes, self.on_progress)

    @cached_property
    def looks(self) -> list[Look | str]:
        """How each image looks, or why that cannot be said; empty where they are not at hand."""
        if self.root is None:
            return []
        root, recipe = self.root, self.contents.recipe

        def look(row: int) -> Look | str:
            return look_at_file(root / self.paths[row], recipe, self.digests[row].tobytes())

        found = []
        for seen in map_batches(look, range(len(self)), count_cores()):
            found.append(seen)
            self.on_progress("Looking at images", len(found), len(self))
        return found
