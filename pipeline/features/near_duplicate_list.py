"""The list of near duplicates that an audit leaves beside a feature file, for whoever divides it.

Images are known by their digests, so the list holds when they are renamed or extracted anew.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import FeatureFileError, SplitError
from pipeline.features.options import APART, TOGETHER
from pipeline.system.csv_files import read_csv, write_csv
from pipeline.system.paths import is_file

SUFFIX = ".near-duplicates.csv"
COLUMNS = ("digest", "group")


def name_list(features: Path) -> Path:
    """Where the list of a feature file lies."""
    return features.with_name(features.name + SUFFIX)


def write_list(features: Path, digests: np.ndarray, groups: Sequence[Sequence[int]]) -> Path:
    """Writes the list of a feature file, in place of an older one.

    Args:
        digests: uint8 `(n_samples, 32)`.
        groups: row numbers of images that show one picture.

    Raises:
        StorageError: it cannot be written.
    """
    target = name_list(features)
    lines = sorted(
        {(digests[row].tobytes().hex(), number) for number, rows in enumerate(groups)
         for row in rows}, key=lambda line: (line[1], line[0]))  # fmt: skip
    write_csv(target, [COLUMNS, *lines])
    return target


def read_list(features: Path) -> dict[bytes, str] | None:
    """The group of each image that has near duplicates, by its digest; None without a list.

    Raises:
        FeatureFileError: the list is damaged.
    """
    path = name_list(features)
    if not is_file(path):
        return None
    try:
        header, *lines = list(read_csv(path))
        if tuple(header) != COLUMNS:
            raise ValueError(f"its first line is {','.join(header)!r}")
        return {_parse_digest(digest): group for digest, group in lines}
    except (OSError, ValueError) as error:
        raise FeatureFileError(
            f"The list of near duplicates cannot be used: {error}. Expected the columns "
            f"{' and '.join(COLUMNS)}, as `frostline.audit(FEATURES)` writes them. Received: "
            f"{os.fspath(path)}\nMake the audit again, or delete the list."
        ) from error


def find_groups_to_keep(features: Path, wanted: str | None) -> dict[bytes, str] | None:
    """The groups whose images are to share a split; None where they need not.

    Args:
        wanted: `together`, `apart`, or None: together, where there is a list.

    Raises:
        SplitError: they are to be together, and no audit was made.
        FeatureFileError: the list is damaged.
    """
    if wanted == APART:
        return None
    found = read_list(features)
    if found is None and wanted == TOGETHER:
        raise SplitError(
            "Nothing is known of near duplicates among these images. Expected a list that an audit "
            f"leaves beside the features. Received: no {name_list(features)}\n"
            "Make an audit first: `frostline.audit(FEATURES)`."
        )
    return found


def _parse_digest(text: str) -> bytes:
    digest = bytes.fromhex(text)
    if len(digest) != 32:
        raise ValueError(f"{text[:100]!r} is no sha256")
    return digest
