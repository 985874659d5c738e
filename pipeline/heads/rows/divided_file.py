"""The images of a feature file as a head is fitted on them: the question asked, the splits made."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import DatasetError, SplitError
from pipeline.features.ask_question import ask
from pipeline.features.feature_file import Contents
from pipeline.features.near_duplicate_list import find_groups_to_keep
from pipeline.features.options import SplitOptions
from pipeline.features.question import Question
from pipeline.features.split_rows import Division, divide_images, drop_small_classes
from pipeline.heads.fit_options import FitOptions
from pipeline.images.splits import UNLABELLED
from pipeline.runs.promise.make_guard import TEST_FRACTION
from pipeline.system.printable import name_some


@dataclass(frozen=True)
class DividedFile:
    """What is known of the images before their features are read.

    Args:
        contents: with the labels and classes of the question.
        question: None where it is that of the feature file.
        dividing: how the images were divided.
        division: of the images.
        notes: sentences for people.
    """

    contents: Contents
    question: Question | None
    dividing: SplitOptions
    division: Division
    notes: list[str]


def divide_file(
    contents: Contents, path: Path, checked: FitOptions, given: Collection[str]
) -> DividedFile:
    """Asks the question and divides the images.

    Args:
        contents: of the feature file.
        path: of the feature file, for messages.
        given: names of the options that were given.

    Raises:
        DatasetError: the images have no labels, or only one class.
        ParameterError, SplitError: a question or a division that makes no sense.
    """
    contents, question, asked = ask(contents, checked.asking)
    contents, dropped = drop_small_classes(contents, checked.dividing)
    _require_classes(contents, path)
    dividing = checked.dividing
    if checked.promising.promise is not None and "test_fraction" not in given:
        dividing = replace(dividing, test_fraction=TEST_FRACTION)
    division = divide_images(
        contents,
        dividing,
        asked=given,
        near_duplicates=find_groups_to_keep(path, dividing.near_duplicates),
    )
    notes = [*asked, *dropped, *division.notes]
    return DividedFile(contents, question, dividing, division, notes)


def _require_classes(contents: Contents, path: Path) -> None:
    present = sorted(set(contents.labels.tolist()) - {UNLABELLED})
    if not present:
        raise DatasetError(
            "The images of this feature file have no labels. Expected a folder per class, or "
            f"labels in the CSV. Received: {path}, made from {contents.data_root}\n"
            "If their names tell the class: `frostline.extract(DATA, label_from=REGEX)`."
        )
    if len(present) < 2:
        raise DatasetError(
            f"There is only one class, {contents.class_names[present[0]]!r}. Expected two or more "
            f"to tell apart. Received: {path}, made from {contents.data_root}\n"
            "Put the images of each class in a folder of its own (or give each its label in the "
            "CSV) and run extract again. If the classes are further down: "
            "`frostline.extract(DATA, class_depth=2)`; if the images' names tell them: "
            "`frostline.extract(DATA, label_from=REGEX)`."
        )
    if len(present) < len(contents.class_names):
        absent = [
            name for label, name in enumerate(contents.class_names) if label not in set(present)
        ]
        raise SplitError(
            f"No image of class {name_some(absent)} could be used. Expected at least two of each "
            f"class. Received: {path}\n`frostline.features({str(path)!r})` lists what was skipped; "
            "`frostline.fit_head(FEATURES, drop_small=1)` leaves such classes out."
        )
