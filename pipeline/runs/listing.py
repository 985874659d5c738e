"""The runs of a folder side by side: what can be compared, and which of them cannot be read."""

from pathlib import Path
from typing import Any

from pipeline.errors import FrostlineError, RunError
from pipeline.runs.run_folder import RUNS_FOLDER, Run, find_run, open_run
from pipeline.runs.scores import SCORED_SPLITS


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
    if folder is not None and not folder.is_dir():
        raise RunError(
            f"There is no such folder. Expected one with runs in it. Received: {folder}\n"
            "Check the path, or leave it out: `frostline.list_runs()` lists those in runs/."
        )
    entries, problems = [], []
    place = folder or RUNS_FOLDER
    own = place / "manifest.json"
    for path in [own] if own.is_file() else sorted(place.glob("*/manifest.json")):
        try:
            entries.append(_summarize(open_run(path.parent)))
        except FrostlineError as error:
            problems.append(str(error))
    return sorted(entries, key=_rank), problems


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
