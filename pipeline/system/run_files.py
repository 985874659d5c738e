"""Where runs lie and what the files of one are called, as far as every floor has to know it."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

from pipeline.system.paths import is_file, sha256_of_file

RUNS_FOLDER = Path("runs")
MANIFEST = "manifest.json"
FINETUNED_MODEL = "model.keras"


def find_run(folder: Path) -> Path:
    """The folder; or the run of that name in `runs/`, where the folder is none."""
    named = RUNS_FOLDER / folder.name
    is_name = str(folder) == folder.name != ".."
    is_meant = is_name and not is_file(folder / MANIFEST)
    return named if is_meant and is_file(named / MANIFEST) else folder


def bind_names(folder: Path, class_names: list[str], files: Iterable[str]) -> str:
    """sha256, 64 hex digits, of the names in their order and of the head's files.

    Args:
        folder: of the run.
        class_names: in the order of the columns of probabilities.
        files: names in the folder.
    """
    return bind_digests(class_names, {name: sha256_of_file(folder / name) for name in files})


def bind_digests(class_names: list[str], digests: dict[str, str]) -> str:
    """`bind_names` of files whose sha256 are known, by name."""
    facts = {"class_names": class_names, "files": digests}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
