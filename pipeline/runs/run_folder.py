"""The run folder: what went into an experiment and what came out, whole or not there at all."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pipeline.errors import RunError
from pipeline.recipe import Recipe
from pipeline.system.atomic_files import write_json
from pipeline.system.atomic_folder import atomic_folder
from pipeline.system.disk import storage_errors

FORMAT = "frostline-run"
VERSION = 1
RUNS_FOLDER = Path("runs")


@dataclass(frozen=True)
class Run:
    """A run folder that was read: `manifest` is its `manifest.json`."""

    folder: Path
    manifest: dict

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def kind(self) -> str:
        """`logreg`, `dense` or `finetuned`."""
        return self.manifest["kind"]

    @property
    def recipe(self) -> Recipe:
        return Recipe.from_json(json.dumps(self.manifest["recipe"]))

    @property
    def class_names(self) -> list[str]:
        return self.manifest["class_names"]


def open_run(folder: Path) -> Run:
    """Reads a run's manifest.

    Raises:
        RunError: there is no run, or it is of a newer format.
    """
    folder = Path(folder)
    path = folder / "manifest.json"
    if not path.is_file():
        raise RunError(
            f"This is not a run: it has no manifest.json. Expected a folder that `cli.py fit-head` "
            f"or `cli.py finetune` wrote. Received: {folder}\n`cli.py runs` lists the runs."
        )
    try:
        manifest = json.loads(path.read_text("utf-8"))
        if not isinstance(manifest, dict):
            raise ValueError(f"it holds a {type(manifest).__name__}")
    except (OSError, ValueError) as error:
        raise RunError(
            f"The manifest of this run cannot be read ({error}). Expected a JSON object, as "
            f"`cli.py fit-head` or `cli.py finetune` wrote it. Received: {path}"
        ) from error
    number = manifest.get("version", 0)
    is_run = manifest.get("format") == FORMAT and isinstance(number, int)
    if not is_run or number > VERSION:
        raise RunError(
            f"Expected format {FORMAT!r}, version {VERSION} or older. Received: {path} with "
            f"format {manifest.get('format')!r}, version {manifest.get('version')}"
        )
    return Run(folder, manifest)


def require_model(run: Run) -> None:
    """Raises a RunError if a run has nothing to rebuild; before TensorFlow's slow start."""
    names = ("head.npz", "head.keras", "model.keras")
    if not any((run.folder / name).is_file() for name in names):
        raise RunError(
            f"This run has no head. Expected one of {', '.join(names)} in it. "
            f"Received: {run.folder}\nFit it again with `cli.py fit-head`."
        )


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
    if output is None or force or not output.exists():
        return
    if not output.is_dir() or any(output.iterdir()):
        raise RunError(
            f"This output exists already. Expected a new name. Received: --output {output}\n"
            "Choose another name, or overwrite it with --force."
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


def write_manifest(folder: Path, kind: str, class_names: list[str], values: dict) -> None:
    """Writes `manifest.json` and `classes.json`."""
    write_json(folder / "classes.json", class_names)
    write_json(
        folder / "manifest.json",
        {
            "format": FORMAT,
            "version": VERSION,
            "kind": kind,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "class_names": class_names,
            **values,
            "software": describe_software(),
            "git_commit": find_git_commit(),
        },
    )
