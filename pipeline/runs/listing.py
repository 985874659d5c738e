"""The runs of a folder side by side: what can be compared, and which of them cannot be read."""

from pathlib import Path

from pipeline.errors import FrostlineError, RunError
from pipeline.runs.run_folder import RUNS_FOLDER, Run, open_run

_SCORED = ("test", "val", "train")  # the fairest first


def list_runs(folder: Path | None = None) -> tuple[list[dict], list[str]]:
    """Compares the runs in a folder: by data set, in it by scored split, in it the best first.

    Accuracies of different images say nothing about which run is better.

    Args:
        folder: None = `runs/`, which need not exist.

    Returns:
        What there is to compare of each run, and a sentence for each that cannot be read.

    Raises:
        RunError: there is no such folder.
    """
    if folder is not None and not folder.is_dir():
        raise RunError(
            f"There is no such folder. Expected one with runs in it. Received: {folder}\n"
            "Check the path, or leave it out: `cli.py runs` lists those in runs/."
        )
    entries, problems = [], []
    for path in sorted((folder or RUNS_FOLDER).glob("*/manifest.json")):
        try:
            entries.append(_summarize(open_run(path.parent)))
        except FrostlineError as error:
            problems.append(str(error))
    return sorted(entries, key=_rank), problems


def _rank(entry: dict) -> tuple:
    root = entry["data_root"]
    return Path(root).name, root, _SCORED.index(entry["split"]), -entry["accuracy"]


def _summarize(run: Run) -> dict:
    """Test scores where there are some, else validation's.

    Raises:
        RunError: the manifest is not complete.
    """
    try:
        split = next(name for name in _SCORED if name in run.manifest["metrics"])
        scores = run.manifest["metrics"][split]
        low, high = scores["accuracy_interval"]
        return {
            "run": str(run.folder),
            "kind": str(run.kind),
            "backbone": str(run.manifest["recipe"]["backbone"]),
            "data_root": str(run.manifest["data_root"]),
            "split": split,
            "n_samples": int(scores["n_samples"]),
            "accuracy": float(scores["accuracy"]),
            "accuracy_interval": [float(low), float(high)],
            "log_loss": float(scores["log_loss"]),
            "macro_f1": float(scores["macro_f1"]),
            "chosen": run.manifest["chosen"],
            "created": str(run.manifest["created"]),
        }
    except (KeyError, TypeError, ValueError, StopIteration) as error:
        raise RunError(
            f"The manifest of this run is not complete. Expected recipe, data_root, metrics, "
            f"chosen and created. Received: {run.folder / 'manifest.json'}\nMake the run again."
        ) from error
