"""The images of a data set that a run's question is about, with their labels."""

import numpy as np

from pipeline.errors import DatasetError
from pipeline.features.question import Question
from pipeline.images.dataset import Dataset
from pipeline.images.splits import UNLABELLED
from pipeline.runs.run_folder import Run
from pipeline.system.printable import name_some


def ask_as_run(run: Run, dataset: Dataset) -> tuple[Dataset, np.ndarray]:
    """The images that a run's question is about, and their labels as indices into its class names.

    Classes that were merged for the run have its name; those that it left out are passed over, and
    the data set's notes say so.

    Raises:
        DatasetError: no labels, a class that the run does not know, or none that it asks for.
    """
    _require_labels(dataset)
    question = run.manifest.question or Question()
    names = [question.rename(name) for name in dataset.class_names]
    left_out = set(question.left_out)
    unknown = sorted({name for name in names if name not in {*run.class_names, *left_out}})
    if unknown:
        other = (
            ""
            if question.labels_file is None
            else f"\nThe run's labels came from {question.labels_file}: give a list like it, with "
            "the columns path and label."
        )
        raise DatasetError(
            f"The run does not know the classes {name_some(unknown)}. Expected folders named "
            f"like its classes: {name_some(run.class_names)}. Received: {dataset.source}{other}"
        )
    number_of = {name: number for number, name in enumerate(run.class_names)}
    numbers = np.array([number_of.get(name, UNLABELLED) for name in names], np.int32)
    labels: np.ndarray = numbers[dataset.labels]
    rows = np.flatnonzero(labels != UNLABELLED)
    if not len(rows):
        raise DatasetError(
            f"All images are of classes that this run leaves out. Expected some of "
            f"{name_some(run.class_names)}. Received: {dataset.source}"
        )
    if len(rows) < len(labels):
        note = (
            f"{len(labels) - len(rows):,} images are passed over: the run leaves their classes "
            f"out ({name_some(sorted(left_out & set(names)))})."
        )
        dataset = dataset.of_rows(rows, note)
    return dataset, labels[rows]


def _require_labels(dataset: Dataset) -> None:
    n_unlabelled = int(np.sum(dataset.labels == UNLABELLED))
    if n_unlabelled:
        which = "These" if n_unlabelled == len(dataset) else f"{n_unlabelled:,} of {len(dataset):,}"
        raise DatasetError(
            f"{which} images have no labels. Expected a folder per class, a column of labels, or "
            f"a pattern that finds the class in each path. Received: {dataset.source}\n"
            "`label_from=REGEX` takes the class from the path; `frostline.predict()` classifies "
            "images without labels."
        )
