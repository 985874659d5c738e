"""The learning curves of a run, of its head and of a fine-tuning after it, as plots."""

import math

from pipeline.errors import RunError
from pipeline.report.contents import Curve, Plot
from pipeline.runs.records import read_history
from pipeline.runs.run_folder import Run, open_run

_QUANTITIES = (("accuracy", "Accuracy"), ("loss", "Log-loss"), ("error", "Squared error"))
_SPLITS = (("train", "training"), ("val", "validation"), ("left_out", "left out"))
_X_NAMES = {
    "C": "C (to the right: less regularisation)",
    "alpha": "alpha (to the right: more regularisation)",
    "neighbours": "neighbours that vote",
}
_LINEAR = ("epoch", "iterations")


def plot_learning(run: Run) -> tuple[list[Plot], list[str]]:
    """The plots of a run, and of the head that it was fine-tuned from; and what is missing.

    Raises:
        RunError: the run's own history is missing or damaged.
    """
    tuned = run.manifest.finetuning
    if tuned is None:
        return _plot(run, "of the head"), []
    plots, notes = _plot(run, "of the fine-tuning"), []
    try:
        plots += _plot(open_run(tuned.parent), "of the head before")
    except RunError:
        notes.append(
            "The run that it was fine-tuned from is not where it was, so the learning curves of "
            "its head are not here."
        )
    return plots, notes


def _plot(run: Run, of: str) -> list[Plot]:
    history = read_history(run)
    x, best = run.manifest.history.x, run.manifest.history.best
    is_chosen = run.manifest.chosen_by in ("val", "leave-one-out")
    plots = []
    for quantity, name in _QUANTITIES:
        curves = [
            curve
            for split, words in _SPLITS
            if (curve := _draw(history, x, f"{split}_{quantity}", words)) is not None
        ]
        if curves:
            plots.append(
                Plot(
                    heading=f"{name} {of}",
                    x_name=_X_NAMES.get(x, x),
                    y_name=name,
                    curves=curves,
                    is_log=x not in _LINEAR and all(value > 0 for value in curves[0].x),
                    mark=(float(best), _name_chosen(x, best)) if is_chosen else None,
                    note=_describe_start(run, quantity),
                )
            )
    return plots


def _name_chosen(x: str, best: float) -> str:
    return f"chosen: epoch {best:g}" if x == "epoch" else f"chosen: {x} = {best:g}"


def _draw(history: list[dict[str, float]], x: str, column: str, name: str) -> Curve | None:
    values = [_round(record.get(column)) for record in history]
    if all(value is None for value in values):
        return None
    return Curve(name, [record[x] for record in history], values)


def _round(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.5g}")


def _describe_start(run: Run, quantity: str) -> str:
    if not run.manifest.is_finetuned or quantity != "accuracy":
        return ""
    return "Epoch 0 is the frozen head, measured on training images as they are: not augmented."
