"""Writes all that goes with exported models."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.classifier.export.beside import card, thresholds
from pipeline.classifier.export.beside.mistakes import answer_mistakes
from pipeline.classifier.export.beside.reference import answer, write_reference
from pipeline.classifier.export.contents import Contents, write_contents
from pipeline.classifier.export.images import ImagesOfExport
from pipeline.classifier.export.prove import CHECK
from pipeline.classifier.export.shipped.check import one_line
from pipeline.classifier.model import Classifier
from pipeline.system.atomic_files import to_json, write_text

if TYPE_CHECKING:
    from pipeline.classifier.export.whole_network import WholeNetwork

LABELS_FILE = "labels.txt"


def write_beside(
    folder: Path,
    contents: Contents,
    classifier: Classifier,
    network: "WholeNetwork",
    reference: ImagesOfExport,
    own_answers: dict[str, dict[str, np.ndarray]],
) -> None:
    """Writes `labels.txt`, `thresholds.json` where the run promises something, `card.md`,
    `reference/`, `check.py` and `export.json`.

    Args:
        own_answers: of models in 8 bits to the references, by name of the format.

    Raises:
        RunError: what the run says of its images cannot be read.
        StorageError: it cannot be written.
    """
    run = classifier.run
    write_text(folder / LABELS_FILE, list_labels(contents.class_names))
    if run.manifest.promise is not None:
        described = thresholds.describe_thresholds(run.manifest.promise)
        write_text(folder / thresholds.FILE_NAME, to_json(described) + "\n")
    write_reference(
        folder,
        reference,
        answer(classifier, reference.pixels),
        own_answers,
        answer_mistakes(network, reference, run.recipe),
        contents.class_names,
    )
    shutil.copyfile(CHECK, folder / CHECK.name)
    write_text(folder / card.FILE_NAME, card.describe_model(run, contents))
    write_contents(folder, contents)


def list_labels(class_names: list[str]) -> str:
    """What `labels.txt` says, beside the models and in them: a name a line, in the order of the
    probabilities; line breaks and stray bytes in a name are escaped, so that a line is a name.
    """
    return "".join(f"{one_line(name)}\n" for name in class_names)
