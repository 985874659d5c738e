"""Which images a run was scored on, as one number: scores of the same ones can be compared."""

import hashlib
import os
from collections.abc import Iterable

import numpy as np

from pipeline.errors import RunError
from pipeline.images.splits import SPLITS
from pipeline.runs.predictions import read_images
from pipeline.runs.records import read_digests
from pipeline.runs.run_folder import Run


def identify_scored_images(
    digests: np.ndarray, splits: np.ndarray, labels: np.ndarray, class_names: list[str]
) -> dict[str, str]:
    """By split, sha256, hex, of its images and their labels, in whatever order they are.

    Args:
        digests: uint8 `(n_samples, 32)`.
        splits: int8 `(n_samples,)`.
        labels: int `(n_samples,)`, indices into `class_names`.
    """
    names = [_encode(name) for name in class_names]
    return {
        name: _hash(
            digests[row].tobytes() + names[labels[row]] for row in np.flatnonzero(splits == split)
        )
        for split, name in enumerate(SPLITS)
        if np.any(splits == split)
    }


def find_scored_images(run: Run) -> str | None:
    """The number of the images that a run's fairest scores are of; None where nobody knows.

    Runs of 0.1.0 do not have it in their manifests: it is made of their records.
    """
    manifest = run.manifest
    known = manifest.scored_images.get(manifest.scored_split)
    if known is not None:
        return known
    try:
        paths, splits, labels = read_images(run)
        digests = read_digests(run, len(paths))
    except RunError:
        return None
    if digests is not None:
        numbers = identify_scored_images(digests, splits, labels, run.class_names)
        return numbers.get(manifest.scored_split)
    rows = np.flatnonzero(splits == SPLITS.index(manifest.scored_split))
    root = os.fsencode(manifest.data_root)
    return _hash(root + b"/" + os.fsencode(paths[row]) for row in rows)


def _hash(entries: Iterable[bytes]) -> str:
    hashed = hashlib.sha256()
    for entry in sorted(entries):
        hashed.update(hashlib.sha256(entry).digest())
    return hashed.hexdigest()


def _encode(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")
