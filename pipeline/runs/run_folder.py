"""The run folder: what went into an experiment and what came out, whole or not there at all."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from itertools import count
from pathlib import Path

from pipeline.errors import LockedError, RunError
from pipeline.recipe import Recipe
from pipeline.runs.manifest import FORMAT, Manifest, read_manifest
from pipeline.system.atomic_folder import atomic_folder
from pipeline.system.disk import storage_errors
from pipeline.system.html_tables import html_table
from pipeline.system.leftovers import remove_leftovers
from pipeline.system.locks import hold_lock_for_now
from pipeline.system.paths import denial, is_file, is_folder
from pipeline.system.printable import printable
from pipeline.system.run_files import MANIFEST, RUNS_FOLDER, find_run
from pipeline.system.versions import list_versions

# By what a folder is known for a run: a file, and a word that stands at its beginning.
RUN_MARK = (MANIFEST, FORMAT)
_MANIFEST_START = 200  # bytes


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

    def _repr_html_(self) -> str:
        """In a notebook: what it is, and how good."""
        manifest = self.manifest
        scores = manifest.metrics[manifest.scored_split]
        low, high = scores.accuracy_interval
        recipes = [one.recipe for one in manifest.backbones]
        facts = {
            "kind": self.kind,
            "backbone": "; ".join(f"{one.backbone}, {one.image_size} pixels" for one in recipes),
            "classes": f"{len(self.class_names):,}",
            "chosen": manifest.chosen,
            "accuracy": f"{scores.accuracy:.4f} (95% {low:.3f}-{high:.3f})",
            "of": f"{scores.n_samples:,} images ({manifest.scored_split})",
            "created": manifest.created,
            "folder": str(self.folder),
        }
        return html_table(f"Run {self.name}", facts)


def open_run(folder: str | os.PathLike[str]) -> Run:
    """Reads a run's manifest.

    Args:
        folder: the run's; the name alone of a run in `runs/` does as well.

    Raises:
        RunError: there is no run, it is damaged, or it is of a newer format.
    """
    folder = find_run(Path(folder))
    if not is_folder(folder):
        what = "This is a file, not a run" if is_file(folder) else "There is no such run"
        raise RunError(
            f"{what}. Expected a folder that `frostline.fit_head()` or `frostline.finetune()` "
            f"wrote, or the name of one in {RUNS_FOLDER.resolve()}. Received: {folder}"
            f"{denial(folder)}\n"
            "`frostline.list_runs()` lists the runs. `frostline.fit_head(FEATURES)` makes one."
            f"{_suggest_run(folder)}"
        )
    return Run(folder, read_manifest(folder))


def _suggest_run(folder: Path) -> str:
    """A run that is called almost so, in a sentence."""
    place = RUNS_FOLDER if str(folder) == folder.name else folder.parent
    try:
        names = [path.name for path in place.iterdir() if is_file(path / MANIFEST)]
    except OSError:
        return ""
    close = get_close_matches(folder.name, names, n=1)
    return f" Did you mean {printable(str(place / close[0]))}?" if close else ""


@contextmanager
def claim_output(
    output: Path | None, *, force: bool, mark: tuple[str, str] = RUN_MARK
) -> Iterator[None]:
    """Holds the name of a run that is going to be written, from before the work that takes long.

    Args:
        output: the run's folder; None where a free name will be taken at the end.
        force: a run of that name may be replaced.
        mark: what is written, where it is no run.

    Raises:
        RunError: there is a run, without `force`, or something else than a run.
        LockedError: another process is about to write it; the message says who.
        StorageError: nothing can be written there.
    """
    require_free_output(output, force=force, mark=mark)
    if output is None:
        yield
        return
    with hold_lock_for_now(output):
        with storage_errors(output):
            remove_leftovers(output)
        require_free_output(output, force=force, mark=mark)  # another may have written it meanwhile
        yield


@contextmanager
def new_run(
    output: Path | None, stem: str, *, force: bool = False, mark: tuple[str, str] = RUN_MARK
) -> Iterator[tuple[Path, Path]]:
    """Gives (folder to write to, name it will have); it gets the name when all is written.

    Args:
        output: the run's folder, or None for `runs/STEM-NUMBER` with the next free number.
        mark: what is written, where it is no run.

    Raises:
        RunError: the output exists and `force` is not set, or is no run.
    """
    with _hold_free_name(stem) if output is None else nullcontext(output) as target:
        require_free_output(target, force=force, mark=mark)

        def may_replace(there: Path) -> bool:
            return force and _is_marked(there, mark)

        with atomic_folder(target, may_replace=may_replace) as folder:
            yield folder, target


@contextmanager
def _hold_free_name(stem: str) -> Iterator[Path]:
    """Gives `runs/STEM-NUMBER` with the next number that nobody has or is about to take."""
    with ExitStack() as held:
        for number in count(1):
            folder = RUNS_FOLDER / f"{stem}-{number}"
            try:
                held.enter_context(claim_output(folder, force=False))
            except (LockedError, RunError):
                continue
            yield folder
            return


def require_free_output(
    output: Path | None, *, force: bool, mark: tuple[str, str] = RUN_MARK
) -> None:
    """Whether a run may be written there; before work that takes long.

    Raises:
        RunError: a run of that name exists and `force` is not set, or what exists is no run.
        StorageError: it cannot be looked into.
    """
    if output is None or not os.path.lexists(output):
        return
    if not is_folder(output):
        raise RunError(
            f"This output is a file. Expected the name of a folder. Received: `output={output}`"
        )
    with storage_errors(output):
        is_empty = not any(output.iterdir())
    is_ours = _is_marked(output, mark)
    if is_empty or (force and is_ours):
        return
    if is_ours:
        raise RunError(
            f"This output exists already. Expected a new name. Received: `output={output}`\n"
            "Choose another name, or overwrite it with `force=True`."
        )
    what = "a run" if mark == RUN_MARK else f"a folder with {mark[0]}"
    raise RunError(
        f"This output is a folder that holds something else than {what}. Expected a new name, or "
        f"{what} to overwrite. Received: `output={output}`\nIt is left as it is. Choose another "
        "name, or move it away."
    )


def _is_marked(folder: Path, mark: tuple[str, str]) -> bool:
    """Whether the manifest in a folder begins like a run's, be it damaged or of a newer version."""
    name, word = mark
    try:
        with (folder / name).open("rb") as file:
            return f'"{word}"'.encode() in file.read(_MANIFEST_START)
    except OSError:
        return False


def now() -> str:
    """The time, as manifests have it: ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def describe_software() -> dict[str, str]:
    """Versions of the packages that decide numbers, without importing them."""
    packages = ("frostline", "tensorflow", "keras", "numpy", "scikit-learn", "pillow", "h5py")
    return list_versions(packages)


def find_git_commit() -> str | None:
    """The commit of the folder that the program runs in, None where there is no git."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
