"""The learning curves of a run as pictures: the head's, and those of a fine-tuning after it."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from pipeline.runs.plots import figures
from pipeline.runs.plots.figures import BLUE, INK, ORANGE, QUIET, short_number

LINES = {
    "train": ("training", ORANGE),
    "val": ("validation", BLUE),
    "left_out": ("left out", INK),
}
PANELS = {"loss": "Log-loss", "accuracy": "Accuracy"}
# A head that is chosen by leaving rows out is judged by its squared error.
LEFT_OUT_PANELS = {"error": "Squared error", "accuracy": "Accuracy"}
_X_LABELS = {
    "epoch": "epoch",
    "C": "C (to the right: less regularisation)",
    "alpha": "alpha (to the right: more regularisation)",
    "neighbours": "neighbours that vote",
    "iterations": "iterations",
}

_FROZEN = "epoch (0: the frozen head)"
_AUGMENTED = "epoch (0: the frozen head, on images that are not augmented)"

# The axis reaches this many times as far from perfect as what must be seen; a start further off
# (chance, before the first step) is written beside the curve instead of flattening it.
REACH = 2.2

_LINE_LETTERS = 30

# A record for each epoch or value of C: mappings, or objects with such attributes.
History = Sequence[Any]


def plot_learning_curve(
    path: Path,
    history: History,
    x: str = "epoch",
    best: float | None = None,
    title: str = "",
) -> None:
    """Draws loss and accuracy of training and validation side by side.

    Args:
        path: of the PNG and the SVG file to write, without their endings.
        history: dicts, or objects with such attributes, of `train_loss`, `train_accuracy`,
            `val_loss`, `val_accuracy` (None where there is none) and the one named by `x`; or of
            `left_out_error` and `left_out_accuracy`.
        x: `"epoch"`, or `"C"` and others for a logarithmic axis of strengths.
        best: the chosen epoch or strength, to be marked; None for none.
        title: above both panels.
    """
    figure = Figure(figsize=(9.6, 4.0))
    panels = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.065, right=0.905, top=0.79, bottom=0.15, wspace=0.42)
    shown = LEFT_OUT_PANELS if _values(history, "error").size else PANELS
    for ax, quantity in zip(panels, shown, strict=True):
        _draw_curves(ax, history, x, quantity)
        _style_x(ax, history, x)
        _style_y(ax, quantity, [history], history[1:] or history)
        _note_hidden_start(ax, history, x, quantity)
        _label_lines(ax, history, quantity)
        _mark_best(ax, history, x, best, quantity)
        ax.set_title(shown[quantity], loc="left", fontsize=10.5, color=INK, pad=9)
    figures.write_figure(figure, path, title, left=0.065)


def plot_finetuning(
    path: Path,
    head_history: History,
    finetune_history: History,
    *,
    head_x: str = "epoch",
    head_best: float | None = None,
    finetune_best: int | None = None,
    unfrozen_from: str = "",
    is_augmented: bool = False,
    title: str = "",
) -> None:
    """Draws the head's training and the fine-tuning after it, on one scale.

    The two stages have an x axis each, since an epoch of the one is no epoch of the other (for
    a logistic head the first is its path over C). The line between them is where the top thaws.
    Epoch 0 is the frozen head: where training augments its images, the head's score on them as
    they are is no point of that curve, so it is drawn hollow, and what leads on from it dotted.

    Args:
        path: of the PNG and the SVG file to write, without their endings.
        head_history: as for `plot_learning_curve`, of the head alone on cached features.
        finetune_history: the same by epoch; epoch 0 is the frozen head.
        head_x: `"epoch"` or `"C"`: what the head's history goes over.
        head_best: the epoch or C that the head was taken from; None for none.
        finetune_best: the epoch that fine-tuning was taken from; None for none.
        unfrozen_from: name of the block from which on layers are trained.
        is_augmented: whether training images were augmented from epoch 1 on.
        title: above all panels.
    """
    figure = Figure(figsize=(9.6, 6.4))
    panels = figure.subplots(2, 2, sharey="row", width_ratios=(1, 1.25))
    figure.subplots_adjust(left=0.075, right=0.905, top=0.81, bottom=0.09, wspace=0, hspace=0.42)
    here = _find_best(head_history, head_x, head_best)
    head_history = [_without_left_out(record) for record in head_history]
    essential = [*finetune_history, *([] if here is None else [head_history[here]])]
    for (left, right), quantity in zip(panels, PANELS, strict=True):
        _draw_curves(left, head_history, head_x, quantity)
        _draw_curves(right, finetune_history, "epoch", quantity, is_augmented=is_augmented)
        _style_x(left, head_history, head_x)
        _style_x(right, finetune_history, "epoch")
        _style_y(left, quantity, [head_history, finetune_history], essential)
        _style_y(right, quantity, [head_history, finetune_history], essential)
        _note_hidden_start(left, head_history, head_x, quantity)
        _label_lines(right, finetune_history, quantity)
        _mark_best(left, head_history, head_x, head_best, quantity, pad_right=True)
        _mark_best(right, finetune_history, "epoch", finetune_best, quantity)
        left.set_title(PANELS[quantity], loc="left", fontsize=10.5, color=INK, pad=9)
        right.tick_params(axis="y", labelleft=False)
        right.set_xlabel(_AUGMENTED if is_augmented else _FROZEN, fontsize=9, color=QUIET)
        right.spines["left"].set(visible=True, color=INK, linewidth=1.3, linestyle=(0, (4, 3)))
    thawed = (
        f", thawed from {figures.shorten(unfrozen_from, _LINE_LETTERS)} up" if unfrozen_from else ""
    )
    _name_stage(panels[0][0], 0.0, "1  Head on the frozen backbone")
    _name_stage(panels[0][1], 0.025, f"2  Fine-tuning{thawed}")
    figures.write_figure(figure, path, title, left=0.075)


def _without_left_out(record: Any) -> Any:
    """A fine-tuning leaves no rows out, so there is nothing to compare such a curve with."""
    if not isinstance(record, Mapping):
        return record
    return {name: value for name, value in record.items() if not name.startswith("left_out")}


def _draw_curves(
    ax: Axes, history: History, x: str, quantity: str, *, is_augmented: bool = False
) -> None:
    positions = _column(history, x)
    for split, (_, color) in LINES.items():
        values = _column(history, f"{split}_{quantity}")
        n_points = int(np.isfinite(values).sum())
        if not n_points:
            continue
        first = 1 if is_augmented and split == "train" and positions[0] == 0 else 0
        if first:
            ax.plot(positions[:2], values[:2], ":", color=color, linewidth=1.4)
            hollow: dict[str, Any] = {"markerfacecolor": "white", "zorder": 4, "clip_on": False}
            ax.plot(positions[:1], values[:1], "o", color=color, **hollow)
        markers: dict[str, Any] = {"marker": "o", "markersize": 3.5} if n_points <= 30 else {}
        ax.plot(positions[first:], values[first:], color=color, linewidth=1.8, **markers)


def _style_x(ax: Axes, history: History, x: str) -> None:
    values = _column(history, x)
    if x in ("epoch", "iterations"):
        pad = max(0.03 * np.ptp(values), 0.25)
        ax.set_xlim(values.min() - pad, values.max() + pad)
        ticks = MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]).tick_values(*ax.get_xlim())
        ax.set_xticks([tick for tick in ticks if values.min() <= tick <= values.max()])
    else:
        pad = 10 ** max(0.03 * np.ptp(np.log10(values)), 0.15)
        ax.set_xscale("log")
        ax.set_xlim(values.min() / pad, values.max() * pad)
        ax.xaxis.set_major_locator(LogLocator(numticks=9))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
        ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xlabel(_X_LABELS.get(x, x), fontsize=9, color=QUIET)


def _style_y(ax: Axes, quantity: str, histories: list[History], essential: History) -> None:
    """Scales the axis to all values, but never so far that the essential ones go flat."""
    values = np.concatenate([_values(history, quantity) for history in histories])
    shown = _values(essential, quantity)
    if not shown.size:  # nothing but NaN: training diverged at once
        ax.set_ylim(0, 1)
    elif quantity != "accuracy":
        ax.set_ylim(0, 1.06 * min(values.max(), REACH * shown.max()) or 1)
    else:
        low = max(values.min(), 1 - REACH * (1 - shown.min()))
        low = max(0.0, math.floor(20 * (low - 0.01)) / 20)
        ax.set_ylim(low, 1 + 0.02 * (1 - low))
        figures.show_percent(ax)
    figures.style_axes(ax)


def _note_hidden_start(ax: Axes, history: History, x: str, quantity: str) -> None:
    """Says where the curves come from if that is off the axis, beside where they enter it."""
    low, high = ax.get_ylim()
    start = _values(history[:1], quantity)
    if not start.size or low <= start.min() <= start.max() <= high:
        return
    is_above = start.max() > high
    worst = start.max() if quantity == "loss" else start.min()
    text = f"from {worst:.2f} ↑" if is_above else f"from {100 * worst:.0f}% ↓"
    is_shown = [_is_within(record, quantity, low, high) for record in history]
    entry = is_shown.index(True) if any(is_shown) else 0
    ax.annotate(
        text,
        xy=(_column(history, x)[entry], 1 if is_above else 0),
        xycoords=ax.get_xaxis_transform(),
        xytext=(9, -5 if is_above else 5),
        textcoords="offset points",
        va="top" if is_above else "bottom",
        fontsize=9,
        color=QUIET,
    )


def _is_within(record: object, quantity: str, low: float, high: float) -> bool:
    values = _values([record], quantity)
    return bool(values.size and low <= values.min() and values.max() <= high)


def _label_lines(ax: Axes, history: History, quantity: str) -> None:
    """Names the lines at their right ends, pushed apart where they would touch."""
    low, high = ax.get_ylim()
    ends = []
    for split, (label, color) in LINES.items():
        values = _column(history, f"{split}_{quantity}")
        values = values[np.isfinite(values)]
        if len(values):
            ends.append([(values[-1] - low) / (high - low), label, color])
    ends.sort()
    if len(ends) == 2 and (overlap := 0.075 - (ends[1][0] - ends[0][0])) > 0:
        ends[0][0] -= overlap / 2
        ends[1][0] += overlap / 2
    for below, above in pairwise(ends if len(ends) > 2 else []):
        above[0] = max(above[0], below[0] + 0.075)
    for y, label, color in ends:
        ax.text(1.02, y, label, transform=ax.transAxes, color=color, fontsize=9.5, va="center")


def _mark_best(
    ax: Axes,
    history: History,
    x: str,
    best: float | None,
    quantity: str,
    pad_right: bool = False,
) -> None:
    here = _find_best(history, x, best)
    if best is None or here is None:
        return
    position = _column(history, x)[here]
    left_out = _column(history, f"left_out_{quantity}")[here]
    value = left_out if np.isfinite(left_out) else _column(history, f"val_{quantity}")[here]
    ax.axvline(position, color=QUIET, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
    text = f"chosen: epoch {best:g}" if x == "epoch" else f"chosen: {x} = {short_number(best)}"
    if np.isfinite(value):
        ring: dict[str, Any] = {
            "markerfacecolor": "white",
            "markeredgecolor": BLUE,
            "markeredgewidth": 2,
        }
        ax.plot([position], [value], marker="o", markersize=8, zorder=5, clip_on=False, **ring)
        text += f", {value:.3f}" if quantity != "accuracy" else f", {100 * value:.1f}%"
    text += "   " if pad_right else ""
    ax.set_title(text, loc="right", fontsize=9.5, color=BLUE, pad=9)


def _find_best(history: History, x: str, best: float | None) -> int | None:
    """Index of the record whose `x` is `best`."""
    if best is None:
        return None
    here = np.flatnonzero(np.isclose(_column(history, x), best))
    return int(here[0]) if len(here) else None


def _name_stage(ax: Axes, x: float, text: str) -> None:
    style: dict[str, Any] = {"color": INK, "fontweight": "bold", **figures.name_style()}
    ax.text(x, 1.2, text, transform=ax.transAxes, fontsize=10.5, **style)


def _column(history: History, name: str) -> np.ndarray:
    """One column of the history, float64 `(n_records,)`, NaN where there is no number."""
    values = [
        record.get(name) if isinstance(record, Mapping) else getattr(record, name, None)
        for record in history
    ]
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _values(history: History, quantity: str) -> np.ndarray:
    """All numbers of loss or accuracy, of training and validation, without the NaN."""
    values = np.concatenate([_column(history, f"{split}_{quantity}") for split in LINES])
    return values[np.isfinite(values)]
