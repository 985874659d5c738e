"""The reference images of an export: what a model elsewhere is to say to them.

`reference/images/` has the files as they came, `reference/pixels/` what goes into the model, as
PNG, `expected.json` what comes out, for any language, and `reference.npz` all of it for `check.py`,
beside what comes out of pixels that were prepared wrongly in one of the usual ways.
"""

import hashlib
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.classifier.export.beside.mistakes import Mistaken
from pipeline.classifier.export.contents import (
    DISTANCE,
    PROBABILITIES,
    REFERENCE_FILE,
    REFERENCE_FOLDER,
)
from pipeline.classifier.export.images import ImagesOfExport
from pipeline.classifier.export.shipped.check import OWN
from pipeline.classifier.model import Classifier
from pipeline.system.atomic_files import atomic_path, to_json, write_text

EXPECTED_FILE = "expected.json"
MOST_BYTES = 4 * 2**20  # of an image that is copied
_LONGEST_STEM = 40
_DIGITS = 8


def answer(classifier: Classifier, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """What the run says: probabilities, float32 `(n, n_classes)`, as `predict` gives them, and the
    distance, float32 `(n,)`, where it measures one.
    """
    n_backbones = len(classifier.run.manifest.backbones)
    parts = [classifier.embed(pixels, place) for place in range(n_backbones)]
    features = np.concatenate(parts, axis=1)
    answers = {PROBABILITIES: classifier.head.predict_proba(features)}
    if classifier.guard is not None and classifier.guard.surroundings is not None:
        answers[DISTANCE] = classifier.guard.surroundings.measure(features)
    return answers


def write_reference(
    folder: Path,
    images: ImagesOfExport,
    answers: dict[str, np.ndarray],
    own_answers: dict[str, dict[str, np.ndarray]],
    mistaken: Mistaken,
    class_names: list[str],
) -> None:
    """Writes the references into an export's folder.

    Args:
        answers: as `answer` gives them.
        own_answers: likewise, of models that say something else, by name of the format.
    """
    own = {
        f"{OWN}/{form}/{name}": values
        for form, outputs in own_answers.items()
        for name, values in outputs.items()
    }
    place = folder / REFERENCE_FOLDER
    (place / "images").mkdir(parents=True)
    (place / "pixels").mkdir()
    with atomic_path(folder / REFERENCE_FILE) as path:
        np.savez_compressed(
            path,
            allow_pickle=False,
            pixels=images.pixels,
            **answers,
            **own,
            rows=mistaken.rows,
            mistakes=np.array(mistaken.names),
            mistaken=mistaken.probabilities,
        )
    described = [
        _write_image(place, row, images, answers, own_answers, class_names)
        for row in range(len(images))
    ]
    expected = {"class_names": class_names, "split": images.split, "images": described}
    write_text(place / EXPECTED_FILE, to_json(expected) + "\n")


def _write_image(
    place: Path,
    row: int,
    images: ImagesOfExport,
    answers: dict[str, np.ndarray],
    own_answers: dict[str, dict[str, np.ndarray]],
    class_names: list[str],
) -> dict[str, Any]:
    """Writes one, and gives what `expected.json` says of it."""
    source = images.paths[row]
    stem = f"{row:02d}-{_name_safely(source.stem)[:_LONGEST_STEM]}"
    suffix = f".{_name_safely(source.suffix[1:])}" if source.suffix[1:] else ""
    pixels = f"pixels/{stem}.png"
    Image.fromarray(images.pixels[row]).save(place / pixels)
    copied = None
    if source.stat().st_size <= MOST_BYTES:
        copied = f"images/{stem}{suffix}"
        shutil.copyfile(source, place / copied)
    label = int(images.labels[row])
    described: dict[str, Any] = {
        "image": copied,
        "pixels": pixels,
        "sha256_of_rgb_bytes": hashlib.sha256(images.pixels[row].tobytes()).hexdigest(),
        "label": class_names[label] if label >= 0 else None,
        **_describe_answers(answers, row),
    }
    if own_answers:
        described[OWN] = {
            form: _describe_answers(given, row) for form, given in own_answers.items()
        }
    return described


def _describe_answers(answers: dict[str, np.ndarray], row: int) -> dict[str, Any]:
    described: dict[str, Any] = {
        PROBABILITIES: [_round(value) for value in answers[PROBABILITIES][row]]
    }
    if DISTANCE in answers:
        described[DISTANCE] = _round(answers[DISTANCE][row])
    return described


def _name_safely(name: str) -> str:
    """A name of letters that every file system and every program takes."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", name)


def _round(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
