"""A data set as lists mend it: with other labels, and without some of its images."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.errors import DatasetError
from pipeline.images.dataset import Dataset
from pipeline.images.sources.fixes import read_excluded, read_labels, refuse_strangers
from pipeline.images.splits import UNLABELLED


def mend(dataset: Dataset, labels: Path | None, exclude: Path | None) -> Dataset:
    """Applies the lists that are given.

    Args:
        labels: a CSV with the columns path and label, in place of all labels of the data set.
        exclude: a CSV of images to leave out: those whose column `exclude` says yes, or without
            such a column all that it names.

    Raises:
        DatasetError: a list cannot be used, names no image, or leaves none.
    """
    if labels is not None:
        dataset = _label(dataset, labels)
    if exclude is not None:
        dataset = _leave_out(dataset, exclude)
    return dataset


def _label(dataset: Dataset, path: Path) -> Dataset:
    label_of = read_labels(path)
    found = [label_of.get(image, "") for image in dataset.paths]
    names = sorted(set(found) - {""})
    if not names:
        raise refuse_strangers(path, dataset.paths[0], "of the data set has a label")
    number_of = {"": UNLABELLED} | {name: number for number, name in enumerate(names)}
    numbers = np.array([number_of[name] for name in found], np.int32)
    n_labelled = int((numbers != UNLABELLED).sum())
    note = f"{n_labelled:,} of {len(numbers):,} images have a label in {path}."
    return replace(dataset, labels=numbers, class_names=names, notes=[*dataset.notes, note])


def _leave_out(dataset: Dataset, path: Path) -> Dataset:
    left_out, named = read_excluded(path)
    if named.isdisjoint(dataset.paths):
        raise refuse_strangers(path, dataset.paths[0], "of the data set is")
    is_kept = np.array([image not in left_out for image in dataset.paths])
    kept = np.flatnonzero(is_kept)
    if not len(kept):
        raise DatasetError(
            f"No image is left. Expected a list that keeps some of the {len(dataset):,} images. "
            f"Received: {path}"
        )
    n_out = len(dataset) - len(kept)
    note = f"{n_out:,} of {len(dataset):,} images are left out by {path}."
    return dataset.of_rows(kept, note)
