"""The runs of a folder side by side: what can be compared, and which of them cannot be read."""

from pathlib import Path
from typing import Any

from pipeline.errors import FrostlineError, RunError
from pipeline.runs.run_folder import RUNS_FOLDER, Run, find_run, open_run
from pipeline.runs.scores import SCORED_SPLITS
from pipeline.system.paths import denial, is_file, is_folder


def list_runs(folder: str | Path | None = None) -> tuple[list[dict[str, Any]], list[str]]:
    """Compares the runs in a folder: by data set, in it by scored split, in it the best first.

    Accuracies of different images say nothing about which run is better.

    Args:
        folder: None = `runs/`, which need not exist. A run's folder or name gives that run.

    Returns:
        What there is to compare of each run, and a sentence for each that cannot be read.

    Raises:
        RunError: there is no such folder.
    """
    folder = None if folder is None else find_run(Path(folder))
    if folder is not None and not is_folder(folder):
        raise RunError(
            f"There is no such folder. Expected one with runs in it. Received: {folder}"
            f"{denial(folder)}\n"
            "Check the path, or leave it out: `frostline.list_runs()` lists those in runs/."
        )
    entries, problems = [], []
    place = folder or RUNS_FOLDER
    for path in [place] if is_file(place / "manifest.json") else _list_folders(place):
        try:
            entries.append(_summarize(open_run(path)))
        except FrostlineError as error:
            problems.append(str(error))
    return sorted(entries, key=_rank), problems


def _list_folders(folder: Path) -> list[Path]:
    """The folders in a folder that are runs, or may be: where one may not look, too.

    Raises:
        RunError: the folder may not be listed.
    """
    if not is_folder(folder):
        return []
    try:
        found = sorted(path for path in folder.iterdir() if is_folder(path))
    except OSError as error:
        raise RunError(
            f"This folder cannot be listed: {error.strerror}. Received: {folder}\n"
            "Change its rights."
        ) from error
    manifests = [path / "manifest.json" for path in found]
    return [path.parent for path in manifests if is_file(path) or denial(path)]


def _rank(entry: dict[str, Any]) -> tuple[str, str, int, float]:
    root = entry["data_root"]
    return Path(root).name, root, SCORED_SPLITS.index(entry["split"]), -entry["accuracy"]


def _summarize(run: Run) -> dict[str, Any]:
    """Test scores where there are some, else validation's."""
    manifest = run.manifest
    scores = manifest.metrics[manifest.scored_split]
    return {
        "run": str(run.folder),
        "kind": run.kind,
        "backbone": run.recipe.backbone,
        "data_root": manifest.data_root,
        "split": manifest.scored_split,
        "n_samples": scores.n_samples,
        "accuracy": scores.accuracy,
        "accuracy_interval": list(scores.accuracy_interval),
        "log_loss": scores.log_loss,
        "macro_f1": scores.macro_f1,
        "chosen": manifest.chosen,
        "created": manifest.created,
    }
