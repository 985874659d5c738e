"""The curve of accuracy over images a class: each draw a dot, their means a line."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from pipeline.runs.plots.figures import BLUE, INK, QUIET, show_percent, style_axes, write_figure


def plot_shots(
    path: Path, numbers: Sequence[int], accuracies: Sequence[Sequence[float]], title: str = ""
) -> None:
    """Draws accuracy over the number of images a class, on a logarithmic axis.

    Args:
        path: of the PNG and the SVG file to write, without their endings.
        numbers: images a class, increasing.
        accuracies: of each number those of its draws, 0..1.
        title: above the plot.
    """
    figure = Figure(figsize=(7.2, 4.4))
    ax = figure.subplots()
    figure.subplots_adjust(left=0.12, right=0.95, top=0.84, bottom=0.14)
    for number, some in zip(numbers, accuracies, strict=True):
        ax.plot([number] * len(some), some, "o", color=BLUE, alpha=0.35, markersize=5)
    means = [float(np.mean(some)) for some in accuracies]
    ax.plot(numbers, means, "-", color=BLUE, linewidth=2)
    for number, mean, some in zip(numbers, means, accuracies, strict=True):
        place = (number, max(some))  # above all draws
        ax.annotate(f"{mean:.1%}", place, (0, 7), textcoords="offset points", ha="center",
                    fontsize=9, color=INK)  # fmt: skip
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(list(numbers)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels([f"{number:,}" for number in numbers])
    ax.set_xlabel("training images of each class", fontsize=9, color=QUIET)
    ax.set_ylabel("accuracy", fontsize=9, color=QUIET)
    style_axes(ax)
    show_percent(ax)
    write_figure(figure, path, title, left=0.12)
