"""The confusion matrix of a run as a picture."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.transforms import blended_transform_factory
from numpy.typing import ArrayLike

from pipeline.runs.plots.figures import (
    BLUE,
    EMPTY,
    INK,
    ORANGE,
    QUIET,
    caption_style,
    name_style,
    shorten,
    text_width,
    write_figure,
)

_NAME_LETTERS = 26
_ROWS_TITLE = "class, its images"
_LEAST_SIDE = 4.5  # inches


def plot_confusion_matrix(
    path: Path, matrix: ArrayLike, class_names: Sequence[str], title: str = ""
) -> None:
    """Draws how often each label (row) was called what (column).

    Shades are shares of the row's label, hits in blue and mistakes in orange. Numbers are
    counts, with shares below them as long as there is room; beyond some 90 classes only the
    shades remain.

    Args:
        path: of the PNG and the SVG file to write, without their endings.
        matrix: int `(n_classes, n_classes)`, counts; rows are labels, columns predictions.
        class_names: sequence of `n_classes` names, of any length.
        title: above the matrix.
    """
    matrix = np.asarray(matrix)
    n_classes = len(matrix)
    n_of_label = matrix.sum(axis=1)

    # All in inches: the matrix sets the size, the names the margins.
    cell = float(np.clip(7.5 / n_classes, min(0.27, 12 / n_classes), 0.95))
    cell = max(cell, _LEAST_SIDE / n_classes)  # two classes fill the room that a title needs
    is_legible = cell >= 0.13
    names = [shorten(str(name), _NAME_LETTERS) for name in class_names] if is_legible else []
    font_size = min(float(np.clip(cell * 22, 6.5, 10.5)), 0.75 * 72 * cell)
    names_width = max((text_width(name, font_size) for name in names), default=0)
    counts_width = text_width(f"{n_of_label.max():,} ", font_size)
    is_slanted = names_width > 0.95 * cell
    left = max(names_width + counts_width + 0.45, text_width(_ROWS_TITLE, 9) + 0.2)
    bottom = (0.75 * names_width if is_slanted else 0.2) + 0.4
    side, top = cell * n_classes, 0.8 if title else 0.45
    width, height = left + side + 0.3, bottom + side + top

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
    ax.text(-0.08 / side, above, _ROWS_TITLE, ha="right", **caption_style(ax))
    ax.text(0.5, below, "predicted class", ha="center", **caption_style(ax))
    write_figure(figure, path, title, left=left / width)


def _draw_grid(ax: Axes, n_classes: int, linewidth: float) -> None:
    ax.set_xticks(np.arange(1, n_classes) - 0.5, minor=True)
    ax.set_yticks(np.arange(1, n_classes) - 0.5, minor=True)
    ax.grid(which="minor", color="white", linewidth=linewidth)
    ax.tick_params(which="minor", length=0)


def _write_cells(ax: Axes, matrix: np.ndarray, shares: np.ndarray, cell: float) -> None:
    has_room = cell >= 0.5
    more = 5 * max(0, cell - 0.95)  # points, where there are few classes
    share_size = 8.5 * min(1, cell / 0.7) + 0.7 * more
    largest = min(12 + more, 14 * cell if has_room else 20 * cell)
    size_of = {
        number: largest * min(1, 0.88 * cell / text_width(f"{number:,}", largest))
        for number in np.unique(matrix).tolist()
    }
    for i, j in zip(*np.nonzero(matrix), strict=True):
        style: dict[str, Any] = {"ha": "center", "va": "center"}
        style["color"] = "white" if _depth(shares[i, j]) > 0.7 else INK
        font_size = size_of[int(matrix[i, j])]
        raised = 0.6 * font_size / 72 / cell if has_room else 0
        ax.text(j, i - raised, f"{matrix[i, j]:,}", fontsize=font_size, **style)
        if has_room:
            lowered = 1.6 * share_size / 72 / cell
            ax.text(j, i + lowered, _percent(shares[i, j]), fontsize=share_size, **style)


def _name_classes(
    ax: Axes, names: list[str], font_size: float, is_slanted: bool, pad: float
) -> None:
    ticks = range(len(names))
    style: dict[str, Any] = {"fontsize": font_size, "color": INK, **name_style()}
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


def _percent(share: float) -> str:
    """In whole percent; neither a rare mistake nor a rare hit is rounded away."""
    if 0.995 <= share < 1:
        return ">99%"
    return f"{math.floor(100 * share + 0.5)}%" if share >= 0.005 else "<1%"
