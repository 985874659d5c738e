"""Pictures of a fine-tuning besides its curves: augmented images, the sweep of the rate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from pipeline.runs.plots.figures import (
    BLUE,
    INK,
    QUIET,
    name_style,
    no_glyph_warnings,
    save_pixels,
    short_number,
    shorten,
    style_axes,
    write_figure,
)

DOTS_PER_INCH = 120


def plot_augmented_images(path: Path, images: np.ndarray, title: str = "") -> None:
    """Draws images in rows of four, as the network sees them.

    Args:
        path: of the PNG file to write, without its ending. There is no SVG beside it: of pixels
            there is nothing to draw with lines.
        images: RGB 0..255 (n, height, width, 3).
    """
    n_rows = -(-len(images) // 4)
    height = 1.82 * n_rows + 0.45  # inches
    figure = Figure(figsize=(7.2, height))
    axes = figure.subplots(n_rows, 4, squeeze=False).flatten()
    for ax in axes:
        ax.set_axis_off()
    for ax, image in zip(axes, images, strict=False):
        ax.imshow(np.clip(np.rint(image), 0, 255).astype(np.uint8), interpolation="nearest")
    place: dict[str, Any] = {"x": 0.012, "y": 1 - 0.1 / height, "ha": "left"}
    figure.suptitle(shorten(title), fontsize=10.5, color=INK, **place, **name_style())
    with no_glyph_warnings():
        figure.tight_layout(pad=0.4, rect=(0, 0, 1, 1 - 0.35 / height))
    save_pixels(figure, path, DOTS_PER_INCH)


def plot_learning_rate_sweep(
    path: Path,
    curve: Sequence[Sequence[float]],
    chosen: float | None,
    title: str = "",
) -> None:
    """Draws the smoothed loss over the rate, and the rate that was taken.

    Args:
        path: of the PNG and the SVG file to write, without their endings.
        curve: [rate, loss] of each step.
        chosen: a rate; None for none.
    """
    rates, losses = np.array(curve).T
    figure = Figure(figsize=(7.2, 4.2))
    ax = figure.subplots()
    figure.subplots_adjust(left=0.09, right=0.96, top=0.85, bottom=0.14)
    ax.plot(rates, losses, color=BLUE, linewidth=1.8)
    ax.set_xscale("log")
    ax.set_ylim(0, 1.1 * min(losses.max(), 3 * losses[0]))
    if chosen is not None:
        ax.axvline(chosen, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        text = f" chosen: {short_number(float(f'{chosen:.2g}'))}"
        ax.annotate(text, (chosen, 0.04), xycoords=("data", "axes fraction"), color=INK, fontsize=9)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_number(value)))
    ax.xaxis.set_minor_locator(NullLocator())
    style_axes(ax)
    ax.set_xlabel("learning rate", fontsize=9, color=QUIET)
    ax.set_ylabel("loss, smoothed", fontsize=9, color=QUIET)
    write_figure(figure, path, title, left=0.09)
