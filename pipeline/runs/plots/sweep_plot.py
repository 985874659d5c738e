"""A sweep at one look: log-loss and accuracy of each setting, a column of panels for each head."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.runs.plots.figures import (
    BLUE,
    INK,
    ORANGE,
    QUIET,
    name_style,
    short_number,
    shorten,
    show_percent,
    style_axes,
    write_figure,
)

# Okabe and Ito's, those that can be seen on white.
_COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
_MARKERS = "osD^vP*"
# The axis reaches so many times as far from the best as three quarters of the settings do.
_REACH = 1.6
_LEAST_VALUES = 4  # of an option, for a line over it; with fewer each setting has its own place
_PANEL_INCHES, _LEAST_INCHES = 0.34, 1.9  # of width: for each position on the axis, of a panel
_NAME_LETTERS, _LETTERS_AN_INCH = 24, 13
_TOP_INCHES, _AXES_INCHES, _LINE_INCHES = 0.98, 4.0, 0.19
_OTHERS = "others"


@dataclass(frozen=True)
class SettingScores:
    """A setting in the plot.

    Args:
        head: its name.
        options: by name, numbers and words.
        file: whose features; empty where there is but one file.
        log_loss, accuracy: on the validation images.
    """

    head: str
    options: Mapping[str, Any]
    file: str
    log_loss: float
    accuracy: float


@dataclass(frozen=True)
class _Panel:
    """Settings of one head: `x` says what is along the axis, `positions` each place on it."""

    title: str
    x: str
    positions: list[str]
    lines: dict[str, list[tuple[int, SettingScores]]]
    is_line: bool = False


def plot_sweep(path: Path, settings: Sequence[SettingScores], title: str = "") -> None:
    """Draws log-loss above accuracy, a column of panels for each head.

    Args:
        path: of the PNG and the SVG file to write, without their endings.
        settings: the best first, which is marked.
        title: above the plot.
    """
    panels = _make_panels(settings)
    widths = [max(_LEAST_INCHES, _PANEL_INCHES * len(panel.positions)) for panel in panels]
    width = max(6.4, 1.2 + sum(widths) + 0.3 * (len(panels) - 1))
    below_axes = _measure_names(panels) + 0.35
    n_lines = max(len(panel.lines) for panel in panels)
    bottom = below_axes + (_LINE_INCHES * n_lines if n_lines > 1 else 0) + 0.15
    height = _TOP_INCHES + _AXES_INCHES + bottom
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(2, len(panels), sharey="row", squeeze=False, width_ratios=widths)
    left = 0.8 / width
    figure.subplots_adjust(
        left=left,
        right=0.985,
        top=1 - _TOP_INCHES / height,
        bottom=bottom / height,
        wspace=0.07,
        hspace=0.12,
    )
    for column, panel in enumerate(panels):
        for ax, quantity in zip(axes[:, column], ("log_loss", "accuracy"), strict=True):
            _draw_panel(ax, panel, quantity, settings[0])
        axes[0, column].set_title(panel.title, loc="left", fontsize=10.5, color=INK, pad=8,
                                  **name_style())  # fmt: skip
        _style_x(axes[0, column], axes[1, column], panel)
        if len(panel.lines) > 1:
            _name_lines(axes[1, column], below_axes)
    _style_y(axes[0, 0], axes[1, 0], settings)
    figure.align_ylabels(axes[:, 0])
    text = shorten(_describe_best(settings[0]), _LETTERS_AN_INCH * int(figure.get_figwidth()))
    place = left, 1 - 0.62 / height
    figure.text(*place, text, fontsize=9.5, color=BLUE, **name_style())
    write_figure(figure, path, title, left=left)


def _describe_best(best: SettingScores) -> str:
    options = [f"{name}={_short(value)}" for name, value in best.options.items()]
    name = " ".join([best.head, *options, *([f"on {best.file}"] if best.file else [])])
    return f"log-loss {best.log_loss:.4f}, accuracy {best.accuracy:.4f}: {name}"


def _make_panels(settings: Sequence[SettingScores]) -> list[_Panel]:
    """A panel for each head with several settings, and one for all the others together."""
    by_head: dict[str, list[SettingScores]] = {}
    for setting in settings:
        by_head.setdefault(setting.head, []).append(setting)
    panels, alone = [], []
    for head, some in by_head.items():
        varying = _list_varying(some)
        if not varying:
            alone += some
        else:
            panels.append(_make_panel(head, varying, some))
    if alone:
        panels.append(_gather(alone))
    return panels


def _list_varying(settings: Sequence[SettingScores]) -> dict[str, set[Any]]:
    """The options that differ between settings, with their values."""
    names = dict.fromkeys(name for setting in settings for name in setting.options)
    values = {name: {setting.options.get(name) for setting in settings} for name in names}
    return {name: some for name, some in values.items() if len(some) > 1}


def _make_panel(
    head: str, varying: Mapping[str, set[Any]], settings: Sequence[SettingScores]
) -> _Panel:
    """A line over the option with the most values, for each combination of the others.

    Where no option has many values each combination of all has its own place, without lines.
    """
    x = max(varying, key=lambda name: (_are_numbers(varying[name]), len(varying[name])))
    if len(varying) > 1 and len(varying[x]) < _LEAST_VALUES:
        along, beside = list(varying), []
    else:
        along, beside = [x], [name for name in varying if name != x]
    places = sorted({_describe(setting, along) for setting in settings})
    lines: dict[str, list[tuple[int, SettingScores]]] = {}
    for setting in settings:
        parts = [setting.file] if setting.file else []
        parts += [
            f"{name}={_short(setting.options[name])}" for name in beside if name in setting.options
        ]
        point = places.index(_describe(setting, along)), setting
        lines.setdefault(", ".join(parts), []).append(point)
    ordered = {
        name: sorted(points, key=lambda point: point[0]) for name, points in sorted(lines.items())
    }
    names = [", ".join(text for _, _, text in place) for place in places]
    return _Panel(head, ", ".join(along), names, ordered, is_line=len(along) == 1)


def _describe(setting: SettingScores, names: Sequence[str]) -> tuple[tuple[int, float, str], ...]:
    """Values as what can be sorted, numbers by size, and as text; what is left open comes last."""
    found = []
    for name in names:
        value = setting.options.get(name, "-")
        is_number = isinstance(value, int | float)
        size = float(value) if is_number else 0.0
        found.append((0 if is_number else 1, size, _short(value)))
    return tuple(found)


def _are_numbers(values: set[Any]) -> bool:
    return all(isinstance(value, int | float) for value in values)


def _gather(settings: Sequence[SettingScores]) -> _Panel:
    heads = list(dict.fromkeys(setting.head for setting in settings))
    lines: dict[str, list[tuple[int, SettingScores]]] = {}
    for setting in settings:
        lines.setdefault(setting.file, []).append((heads.index(setting.head), setting))
    title = heads[0] if len(heads) == 1 else _OTHERS
    return _Panel(title, "", heads, dict(sorted(lines.items())))


def _draw_panel(ax: Axes, panel: _Panel, quantity: str, best: SettingScores) -> None:
    for number, (name, points) in enumerate(panel.lines.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        marker = _MARKERS[number // len(_COLOURS) % len(_MARKERS)]
        ax.plot(
            [place for place, _ in points],
            [getattr(setting, quantity) for _, setting in points],
            marker=marker,
            markersize=4.5,
            linewidth=1.4 if panel.is_line else 0,
            color=colour,
            label=shorten(name, 2 * _NAME_LETTERS),
            clip_on=True,
        )
        for place, setting in points:
            if setting is best:
                ax.plot(
                    [place],
                    [getattr(setting, quantity)],
                    marker="o",
                    markersize=11,
                    markerfacecolor="none",
                    markeredgecolor=BLUE,
                    markeredgewidth=2,
                    zorder=5,
                )


def _style_x(above: Axes, below: Axes, panel: _Panel) -> None:
    n_positions = len(panel.positions)
    for ax in (above, below):
        ax.set_xlim(-0.6, n_positions - 0.4)
        ax.set_xticks(range(n_positions))
        style_axes(ax)
    above.set_xticklabels([])
    names = [shorten(position, _NAME_LETTERS) for position in panel.positions]
    below.set_xticklabels(names, rotation=45, ha="right", rotation_mode="anchor", **name_style())
    below.set_xlabel(panel.x, fontsize=9, color=QUIET)


def _name_lines(ax: Axes, inches_below: float) -> None:
    """What the colours are, below the names of the places."""
    legend = ax.legend(
        loc="upper left",
        bbox_to_anchor=(-0.02, -inches_below / (_AXES_INCHES / 2.12)),
        frameon=False,
        fontsize=8.5,
        labelcolor=QUIET,
        borderpad=0,
        handlelength=1.4,
    )
    for text in legend.get_texts():
        text.set(**name_style())


def _measure_names(panels: Sequence[_Panel]) -> float:
    """Height of the longest name along an axis, which is turned by half a right angle, inches."""
    longest = max(len(name) for panel in panels for name in panel.positions)
    return 0.25 + 0.045 * min(longest, _NAME_LETTERS)


def _style_y(losses: Axes, accuracies: Axes, settings: Sequence[SettingScores]) -> None:
    """Scaled to most settings: what is far worse than most runs out of the picture."""
    found = np.array([[setting.log_loss, -setting.accuracy] for setting in settings])
    best, worst = found.min(axis=0), found.max(axis=0)
    far = best + _REACH * (np.percentile(found, 75, axis=0) - best)
    reach = np.maximum(np.minimum(worst, far) - best, np.array([0.02, 0.01]))
    losses.set_ylim(best[0] - 0.12 * reach[0], best[0] + 1.08 * reach[0])
    accuracies.set_ylim(-best[1] - 1.08 * reach[1], -best[1] + 0.12 * reach[1])
    losses.set_ylabel("validation log-loss", fontsize=9.5, color=QUIET)
    accuracies.set_ylabel("validation accuracy", fontsize=9.5, color=QUIET)
    show_percent(accuracies)


def _short(value: Any) -> str:
    return short_number(value) if isinstance(value, float) else str(value)
