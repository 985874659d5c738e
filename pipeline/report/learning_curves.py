"""The plots of a run, as PNG files: learning curves, confusion matrix, head and fine-tuning.

Figures are made without pyplot, so they share no state and can be drawn in any thread. Colours are
Okabe and Ito's, which people with colour-blindness tell apart (https://jfly.uni-koeln.de/color/).
"""

import functools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font_names
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.transforms import blended_transform_factory
from numpy.typing import ArrayLike

BLUE, ORANGE = "#0072B2", "#D55E00"
INK, QUIET, GRID, EMPTY = "#22272E", "#6B7280", "#E5E7EB", "#F6F7F9"
DOTS_PER_INCH = 150
TITLE_SIZE = 13

# matplotlib's own font has no Chinese, Japanese or Korean letters; these come with systems.
MORE_FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK KR", "Noto Sans JP", "Noto Sans SC"),
    *("Source Han Sans", "IPAexGothic", "TakaoGothic", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei"),
    *("Hiragino Sans", "PingFang SC", "Heiti SC", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Microsoft YaHei", "SimHei", "Yu Gothic", "MS Gothic", "Malgun Gothic", "NanumGothic"),
)

LINES = {"train": ("training", ORANGE), "val": ("validation", BLUE)}
PANELS = {"loss": "Log-loss", "accuracy": "Accuracy"}

# The axis reaches this many times as far from perfect as what must be seen; a start further off
# (chance, before the first step) is written beside the curve instead of flattening it.
REACH = 2.2

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
        path: PNG file to write.
        history: dicts, or objects with such attributes, of `train_loss`, `train_accuracy`,
            `val_loss`, `val_accuracy` (None where there is none) and the one named by `x`.
        x: `"epoch"`, or `"C"` for a logarithmic axis of regularisation strengths.
        best: the chosen epoch or C, to be marked; None for none.
        title: above both panels.
    """
    figure = Figure(figsize=(9.6, 4.0))
    panels = figure.subplots(1, 2)
    figure.subplots_adjust(left=0.065, right=0.905, top=0.79, bottom=0.15, wspace=0.42)
    for ax, quantity in zip(panels, PANELS, strict=True):
        _draw_curves(ax, history, x, quantity)
        _style_x(ax, history, x)
        _style_y(ax, quantity, [history], history[1:] or history)
        _note_hidden_start(ax, history, x, quantity)
        _label_lines(ax, history, quantity)
        _mark_best(ax, history, x, best, quantity)
        ax.set_title(PANELS[quantity], loc="left", fontsize=10.5, color=INK, pad=9)
    _write(figure, path, title, left=0.065)


def plot_finetuning(
    path: Path,
    head_history: History,
    finetune_history: History,
    *,
    head_x: str = "epoch",
    head_best: float | None = None,
    finetune_best: int | None = None,
    unfrozen_from: str = "",
    title: str = "",
) -> None:
    """Draws the head's training and the fine-tuning after it, on one scale.

    The two stages have an x axis each, since an epoch of the one is no epoch of the other (for
    a logistic head the first is its path over C). The line between them is where the top thaws.

    Args:
        path: PNG file to write.
        head_history: as for `plot_learning_curve`, of the head alone on cached features.
        finetune_history: the same by epoch; epoch 0 is the frozen head.
        head_x: `"epoch"` or `"C"`: what the head's history goes over.
        head_best: the epoch or C that the head was taken from; None for none.
        finetune_best: the epoch that fine-tuning was taken from; None for none.
        unfrozen_from: name of the block from which on layers are trained.
        title: above all panels.
    """
    figure = Figure(figsize=(9.6, 6.4))
    panels = figure.subplots(2, 2, sharey="row", width_ratios=(1, 1.25))
    figure.subplots_adjust(left=0.075, right=0.905, top=0.81, bottom=0.09, wspace=0, hspace=0.42)
    here = _find_best(head_history, head_x, head_best)
    essential = [*finetune_history, *([] if here is None else [head_history[here]])]
    for (left, right), quantity in zip(panels, PANELS, strict=True):
        _draw_curves(left, head_history, head_x, quantity)
        _draw_curves(right, finetune_history, "epoch", quantity)
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
        right.spines["left"].set(visible=True, color=INK, linewidth=1.3, linestyle=(0, (4, 3)))
    thawed = f", thawed from {unfrozen_from} up" if unfrozen_from else ""
    _name_stage(panels[0][0], 0.0, "1  Head on the frozen backbone")
    _name_stage(panels[0][1], 0.025, f"2  Fine-tuning{thawed}")
    _write(figure, path, title, left=0.075)


def plot_confusion_matrix(
    path: Path, matrix: ArrayLike, class_names: Sequence[str], title: str = ""
) -> None:
    """Draws how often each label (row) was called what (column).

    Shades are shares of the row's label, hits in blue and mistakes in orange. Numbers are
    counts, with shares below them as long as there is room; beyond some 90 classes only the
    shades remain.

    Args:
        path: PNG file to write.
        matrix: int `(n_classes, n_classes)`, counts; rows are labels, columns predictions.
        class_names: sequence of `n_classes` names, of any length.
        title: above the matrix.
    """
    matrix = np.asarray(matrix)
    n_classes = len(matrix)
    n_of_label = matrix.sum(axis=1)

    # All in inches: the matrix sets the size, the names the margins.
    cell = float(np.clip(7.5 / n_classes, min(0.27, 12 / n_classes), 0.95))
    is_legible = cell >= 0.13
    names = [_shorten(name, 26) for name in class_names] if is_legible else []
    font_size = min(float(np.clip(cell * 22, 6.5, 10.5)), 0.75 * 72 * cell)
    names_width = max((_text_width(name, font_size) for name in names), default=0)
    counts_width = _text_width(f"{n_of_label.max():,} ", font_size)
    is_slanted = names_width > 0.95 * cell
    left = max(names_width + counts_width + 0.45, _text_width("label, images", 9) + 0.2)
    bottom = (0.75 * names_width if is_slanted else 0.2) + 0.4
    side, top = cell * n_classes, 0.8 if title else 0.45
    title_width = min(_text_width(title, TITLE_SIZE, "bold"), 4.5)
    width, height = left + max(side, title_width) + 0.3, bottom + side + top

    figure = Figure(figsize=(width, height))
    ax = figure.add_axes((left / width, bottom / height, side / width, side / height))
    shares = matrix / np.maximum(n_of_label, 1)[:, None]
    ax.imshow(_shade(shares), aspect="equal", interpolation="none")
    ax.spines[:].set_visible(False)
    _name_classes(ax, names, font_size, is_slanted, pad=counts_width)
    if is_legible:
        _draw_grid(ax, n_classes, linewidth=min(2, 3.2 * cell))
        _write_cells(ax, matrix, shares, cell)
        _write_row_counts(ax, n_of_label, font_size, gap=0.08 / side)
    above, below = 1 + 0.1 / side, -(bottom - 0.12) / side
    ax.text(-0.08 / side, above, "label, images", ha="right", **_caption(ax))
    ax.text(0, below, "predicted", ha="left", **_caption(ax))
    _write(figure, path, title, left=left / width)


def _draw_curves(ax: Axes, history: History, x: str, quantity: str) -> None:
    markers: dict[str, Any] = {"marker": "o", "markersize": 3.5} if len(history) <= 30 else {}
    for split, (_, color) in LINES.items():
        values = _column(history, f"{split}_{quantity}")
        if np.isfinite(values).any():
            ax.plot(_column(history, x), values, color=color, linewidth=1.8, **markers)


def _style_x(ax: Axes, history: History, x: str) -> None:
    values = _column(history, x)
    if x == "epoch":
        pad = max(0.03 * np.ptp(values), 0.25)
        ax.set_xlim(values.min() - pad, values.max() + pad)
        ticks = MaxNLocator(7, integer=True, steps=[1, 2, 5, 10]).tick_values(*ax.get_xlim())
        ax.set_xticks([tick for tick in ticks if values.min() <= tick <= values.max()])
        label = "epoch"
    else:
        pad = 10 ** max(0.03 * np.ptp(np.log10(values)), 0.15)
        ax.set_xscale("log")
        ax.set_xlim(values.min() / pad, values.max() * pad)
        ax.xaxis.set_major_locator(LogLocator(numticks=9))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        ax.xaxis.set_minor_locator(NullLocator())
        label = "C (to the right: less regularisation)"
    ax.set_xlabel(label, fontsize=9, color=QUIET)
    ax.tick_params(axis="x", labelsize=9, length=3, color=GRID, labelcolor=QUIET)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(QUIET)


def _style_y(ax: Axes, quantity: str, histories: list[History], essential: History) -> None:
    """Scales the axis to all values, but never so far that the essential ones go flat."""
    values = np.concatenate([_values(history, quantity) for history in histories])
    shown = _values(essential, quantity)
    if not shown.size:  # nothing but NaN: training diverged at once
        ax.set_ylim(0, 1)
    elif quantity == "loss":
        ax.set_ylim(0, 1.06 * min(values.max(), REACH * shown.max()) or 1)
    else:
        low = max(values.min(), 1 - REACH * (1 - shown.min()))
        low = max(0.0, math.floor(20 * (low - 0.01)) / 20)
        ax.set_ylim(low, 1 + 0.02 * (1 - low))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.tick_params(axis="y", labelsize=9, length=0, labelcolor=QUIET)
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)


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
    value = _column(history, f"val_{quantity}")[here]
    ax.axvline(position, color=QUIET, linewidth=0.9, linestyle=(0, (2, 3)), zorder=1)
    text = f"chosen: epoch {best:g}" if x == "epoch" else f"chosen: C = {_short(best)}"
    if np.isfinite(value):
        ring: dict[str, Any] = {
            "markerfacecolor": "white",
            "markeredgecolor": BLUE,
            "markeredgewidth": 2,
        }
        ax.plot([position], [value], marker="o", markersize=8, zorder=5, **ring)
        text += f", {value:.3f}" if quantity == "loss" else f", {100 * value:.1f}%"
    text += "   " if pad_right else ""
    ax.set_title(text, loc="right", fontsize=9.5, color=BLUE, pad=9)


def _find_best(history: History, x: str, best: float | None) -> int | None:
    """Index of the record whose `x` is `best`."""
    if best is None:
        return None
    here = np.flatnonzero(np.isclose(_column(history, x), best))
    return int(here[0]) if len(here) else None


def _name_stage(ax: Axes, x: float, text: str) -> None:
    ax.text(x, 1.2, text, transform=ax.transAxes, fontsize=10.5, color=INK, fontweight="bold")


def _draw_grid(ax: Axes, n_classes: int, linewidth: float) -> None:
    ax.set_xticks(np.arange(1, n_classes) - 0.5, minor=True)
    ax.set_yticks(np.arange(1, n_classes) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=linewidth)
    ax.tick_params(which="minor", length=0)


def _write_cells(ax: Axes, matrix: np.ndarray, shares: np.ndarray, cell: float) -> None:
    has_room = cell >= 0.5
    for i, j in zip(*np.nonzero(matrix), strict=True):
        count = f"{matrix[i, j]:,}"
        style: dict[str, Any] = {"ha": "center", "va": "center"}
        style["color"] = "white" if _depth(shares[i, j]) > 0.7 else INK
        font_size = min(12, 14 * cell if has_room else 20 * cell)
        font_size *= min(1, 0.88 * cell / _text_width(count, font_size))
        ax.text(j, i - 0.1 * has_room, count, fontsize=font_size, **style)
        if has_room:
            ax.text(j, i + 0.23, _percent(shares[i, j]), fontsize=8.5 * min(1, cell / 0.7), **style)


def _name_classes(
    ax: Axes, names: list[str], font_size: float, is_slanted: bool, pad: float
) -> None:
    ticks = range(len(names))
    # A $ in a name is no formula.
    style: dict[str, Any] = {
        "fontsize": font_size,
        "color": INK,
        "parse_math": False,
        "fontfamily": list_fonts(),
    }
    slant: dict[str, Any] = {"rotation": 48, "ha": "right", "va": "top", "rotation_mode": "anchor"}
    ax.set_xticks(ticks, names, **style, **(slant if is_slanted else {}))
    ax.set_yticks(ticks, names, **style, va="center_baseline")
    ax.tick_params(length=0, pad=4)
    ax.tick_params(axis="y", pad=72 * (pad + 0.13))


def _write_row_counts(ax: Axes, counts: np.ndarray, font_size: float, gap: float) -> None:
    style: dict[str, Any] = {
        "fontsize": font_size,
        "color": QUIET,
        "ha": "right",
        "va": "center_baseline",
    }
    beside = blended_transform_factory(ax.transAxes, ax.transData)
    for i, n in enumerate(counts):
        ax.text(-gap, i, f"{n:,}", transform=beside, **style)


def _shade(shares: np.ndarray) -> np.ndarray:
    """RGB `(n_classes, n_classes, 3)`: blue on the diagonal, orange off it, grey for none."""
    depth = _depth(shares)[..., None]
    is_hit = np.eye(len(shares), dtype=bool)[..., None]
    shaded = 1 - depth * (1 - np.where(is_hit, to_rgb(BLUE), to_rgb(ORANGE)))
    return np.where(depth > 0, shaded, to_rgb(EMPTY))


def _depth(share: np.ndarray) -> np.ndarray:
    """0..1; the square root keeps a mistake of a few percent visible."""
    return np.sqrt(share)


def _column(history: History, name: str) -> np.ndarray:
    """One column of the history, float64 `(n_records,)`, NaN where there is no number."""
    values = [
        record[name] if isinstance(record, Mapping) else getattr(record, name) for record in history
    ]
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _values(history: History, quantity: str) -> np.ndarray:
    """All numbers of loss or accuracy, of training and validation, without the NaN."""
    values = np.concatenate([_column(history, f"{split}_{quantity}") for split in LINES])
    return values[np.isfinite(values)]


def _caption(ax: Axes) -> dict[str, Any]:
    return {"transform": ax.transAxes, "fontsize": 9, "color": QUIET}


@functools.cache
def list_fonts() -> list[str]:
    """matplotlib's font, then those that are asked, in turn, for a letter that it lacks.

    Only installed ones: matplotlib warns of any other.
    """
    installed = set(get_font_names())
    return ["DejaVu Sans", *(name for name in MORE_FONTS if name in installed)]


def _text_width(text: str, font_size: float, weight: str = "normal") -> float:
    """How wide a line of text is, inches."""
    with _no_glyph_warnings():
        font = FontProperties(family=list_fonts(), size=font_size, weight=weight)
        return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


@contextmanager
def _no_glyph_warnings() -> Iterator[None]:
    # A letter that the font lacks is drawn as a box; nobody can do anything about it here.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield


def _short(value: float) -> str:
    """Plain from 0.001 to 9999, else as people type it: 1e-5."""
    if 1e-3 <= value < 1e4:
        return f"{value:g}"
    return np.format_float_scientific(value, precision=3, trim="-", exp_digits=1)


def _percent(share: float) -> str:
    """In whole percent; neither a rare mistake nor a rare hit is rounded away."""
    if 0.995 <= share < 1:
        return ">99%"
    return f"{math.floor(100 * share + 0.5)}%" if share >= 0.005 else "<1%"


def _shorten(name: str, length: int) -> str:
    name = " ".join(str(name).split())
    if len(name) <= length:
        return name
    n_last = (length - 1) // 2
    return f"{name[: length - 1 - n_last]}…{name[-n_last:]}"


def _write(figure: Figure, path: Path, title: str, left: float) -> None:
    width, height = figure.get_size_inches()
    if title:
        room = (1 - left) * width - 0.2
        font_size = TITLE_SIZE * min(1, room / _text_width(title, TITLE_SIZE, "bold"))
        y = 1 - 0.16 / height
        style: dict[str, Any] = {
            "fontweight": "bold",
            "color": INK,
            "va": "top",
            "parse_math": False,
        }
        figure.text(left, y, title, fontsize=font_size, fontfamily=list_fonts(), **style)
    with _no_glyph_warnings():
        figure.savefig(path, format="png", dpi=DOTS_PER_INCH, facecolor="white")
