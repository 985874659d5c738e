"""What MLflow is told of a run: settings, scores and history, as names and values."""

from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from typing import NamedTuple

from pipeline.recipe import name_backbones
from pipeline.runs.manifest import Manifest
from pipeline.runs.records import read_history
from pipeline.runs.run_folder import Run
from pipeline.runs.scores import Metrics


class Score(NamedTuple):
    """A number and the step that it belongs to: an epoch, or the place of a C."""

    name: str
    value: float
    step: int


def list_settings(run: Run) -> dict[str, str]:
    """The run's parameters, and what decided its features."""
    manifest = run.manifest
    recipes = [used.recipe for used in manifest.backbones]
    facts = {
        "backbone": name_backbones(recipes),
        "image_size": ", ".join(str(recipe.image_size) for recipe in recipes),
        "recipe_id": ", ".join(recipe.id for recipe in recipes),
        "weights_source": ", ".join(used.weights_source for used in manifest.backbones),
        "data_name": manifest.data_name,
        "data_root": manifest.data_root,
        "n_classes": len(manifest.class_names),
        **{f"n_{split}": number for split, number in manifest.splits.n_images.items()},
        "chosen": manifest.chosen,
        "chosen_by": manifest.chosen_by,
    }
    return {name: str(value) for name, value in {**facts, **manifest.parameters}.items()}


def list_scores(run: Run) -> list[Score]:
    """The scores of each split, of a fine-tuned run also before, the seconds, and the history.

    Raises:
        RunError: the history is missing or damaged.
    """
    manifest = run.manifest
    found = list(_describe_splits(manifest.metrics, ""))
    if manifest.finetuning is not None:
        found += _describe_splits(manifest.finetuning.metrics_frozen, "frozen_")
    found += [(f"seconds/{stage}", seconds) for stage, seconds in manifest.seconds.items()]
    return [*(Score(name, value, 0) for name, value in found), *_list_history(run)]


def list_tags(run: Run) -> dict[str, str]:
    """What a run is found and understood by; the names with `mlflow.` are those of its pages."""
    manifest = run.manifest
    commit = {"mlflow.source.git.commit": manifest.git_commit} if manifest.git_commit else {}
    return {
        "frostline.kind": manifest.kind,
        "frostline.version": version("frostline"),
        "frostline.run": str(run.folder.resolve()),
        "mlflow.note.content": "\n\n".join(_describe_in_words(manifest)),
        **commit,
    }


def find_times(manifest: Manifest) -> tuple[int, int]:
    """When a run began and ended, milliseconds since 1970."""
    end = datetime.fromisoformat(manifest.created).timestamp()
    return int(1000 * (end - manifest.seconds.get("total", 0.0))), int(1000 * end)


def _describe_splits(metrics: dict[str, Metrics], start: str) -> Iterator[tuple[str, float]]:
    for split, scores in metrics.items():
        low, high = scores.accuracy_interval
        yield f"{start}{split}/accuracy", scores.accuracy
        yield f"{start}{split}/accuracy_low", low
        yield f"{start}{split}/accuracy_high", high
        yield f"{start}{split}/balanced_accuracy", scores.balanced_accuracy
        yield f"{start}{split}/macro_f1", scores.macro_f1
        yield f"{start}{split}/log_loss", scores.log_loss
        yield f"{start}{split}/n_samples", scores.n_samples


def _list_history(run: Run) -> Iterator[Score]:
    """Each row of `history.csv` at its epoch; of a history over C at its place, C among them."""
    x = run.manifest.history.x
    for place, row in enumerate(read_history(run)):
        step = int(row[x]) if x == "epoch" else place
        for name, value in row.items():
            if name != "epoch":
                yield Score(f"history/{name}", value, step)


def _describe_in_words(manifest: Manifest) -> list[str]:
    tuned = manifest.finetuning
    words = [f"{manifest.chosen}, chosen by {manifest.chosen_by}."]
    return [*words, *([] if tuned is None else [tuned.verdict]), *manifest.notes]
