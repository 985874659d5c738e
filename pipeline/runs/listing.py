"""The runs of a folder side by side: what can be compared, and which of them cannot be read."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.errors import FrostlineError, RunError
from pipeline.recipe import Recipe
from pipeline.runs.run_folder import RUNS_FOLDER, Run, find_run, open_run
from pipeline.runs.scored_images import find_scored_images
from pipeline.runs.scores import SCORED_SPLITS
from pipeline.system.paths import denial, is_file, is_folder

# What decides features besides backbone and image size, and that people set.
RECIPE_SETTINGS = ("resize", "layer", "pooling", "precision")


def list_runs(folder: str | Path | None = None) -> tuple[list[dict[str, Any]], list[str]]:
    """Compares the runs in a folder, the best first among those scored on the same images.

    Scores of other images, or of other labels, say nothing about which run is better. So runs
    stand by data set, in it by scored split, in it by `scored_images`: the number of the images.
    Of equal accuracies the one with the lower log-loss is the better.

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
    return _in_order(entries), problems


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


def _in_order(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups with more images first, then by how they were divided; in each the best first."""

    def rank(entry: dict[str, Any]) -> tuple[Any, ...]:
        root, facts = entry["data_root"], entry["splits"]
        return (
            *(Path(root).name, root, SCORED_SPLITS.index(entry["split"]), -entry["n_samples"]),
            *(facts["seed"], entry["scored_images"] or entry["run"]),
            *(-entry["accuracy"], entry["log_loss"], entry["run"]),
        )

    return sorted(entries, key=rank)


def _summarize(run: Run) -> dict[str, Any]:
    """Test scores where there are some, else validation's."""
    manifest = run.manifest
    scores = manifest.metrics[manifest.scored_split]
    return {
        "run": str(run.folder),
        "kind": run.kind,
        **_describe_recipe(run.recipe),
        "further_backbones": [_describe_recipe(one.recipe) for one in manifest.further_backbones],
        "data_root": manifest.data_root,
        "data_name": manifest.data_name or Path(manifest.data_root).name,
        "split": manifest.scored_split,
        "scored_images": find_scored_images(run),
        "splits": asdict(manifest.splits),
        "n_samples": scores.n_samples,
        "accuracy": scores.accuracy,
        "accuracy_interval": list(scores.accuracy_interval),
        "log_loss": scores.log_loss,
        "macro_f1": scores.macro_f1,
        "chosen": manifest.chosen,
        "parameters": manifest.parameters,
        "created": manifest.created,
    }


def _describe_recipe(recipe: Recipe) -> dict[str, Any]:
    names = ("backbone", "image_size", *RECIPE_SETTINGS)
    return {name: getattr(recipe, name) for name in names}
