"""The run folder: what went into an experiment and what came out, whole or not there at all."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pipeline.errors import RunError
from pipeline.recipe import Recipe
from pipeline.runs.manifest import Manifest, read_manifest
from pipeline.system.atomic_folder import atomic_folder
from pipeline.system.disk import storage_errors

RUNS_FOLDER = Path("runs")


@dataclass(frozen=True)
class Run:
    """A run folder that was read."""

    folder: Path
    manifest: Manifest

    def __fspath__(self) -> str:
        return str(self.folder)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def kind(self) -> str:
        """Name of the head in the registry, or `finetuned`."""
        return self.manifest.kind

    @property
    def recipe(self) -> Recipe:
        return self.manifest.recipe

    @property
    def class_names(self) -> list[str]:
        return self.manifest.class_names


def open_run(folder: str | os.PathLike[str]) -> Run:
    """Reads a run's manifest.

    Raises:
        RunError: there is no run, it is damaged, or it is of a newer format.
    """
    folder = Path(folder)
    return Run(folder, read_manifest(folder))


@contextmanager
def new_run(output: Path | None, stem: str, *, force: bool = False) -> Iterator[tuple[Path, Path]]:
    """Gives (folder to write to, name it will have); it gets the name when all is written.

    Args:
        output: the run's folder, or None for `runs/STEM-NUMBER` with the next free number.

    Raises:
        RunError: the output exists and `force` is not set.
    """
    reserved = None
    require_free_output(output, force=force)
    if output is None:
        output = reserved = _reserve(stem)
    try:
        with atomic_folder(output, force=force) as folder:
            yield folder, output
    finally:
        if reserved is not None and not any(reserved.iterdir()):
            reserved.rmdir()


def require_free_output(output: Path | None, *, force: bool) -> None:
    """Raises a RunError if a run of that name exists; before work that takes long."""
    if output is None or force:
        return
    with storage_errors(output):
        is_free = not output.exists() or (output.is_dir() and not any(output.iterdir()))
    if not is_free:
        raise RunError(
            f"This output exists already. Expected a new name. Received: `output={output}`\n"
            "Choose another name, or overwrite it with `force=True`."
        )


def _reserve(stem: str) -> Path:
    """Makes the empty folder `runs/STEM-NUMBER` with the next free number."""
    with storage_errors(RUNS_FOLDER):
        RUNS_FOLDER.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            folder = RUNS_FOLDER / f"{stem}-{number}"
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
            else:
                return folder


def now() -> str:
    """The time, as manifests have it: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe_software() -> dict[str, str]:
    """Versions of the packages that decide numbers, without importing them."""
    packages = ("frostline", "tensorflow", "keras", "numpy", "scikit-learn", "pillow", "h5py")
    return {name: version(name) for name in packages}


def find_git_commit() -> str | None:
    """The commit of the folder that the program runs in, None where there is no git."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
