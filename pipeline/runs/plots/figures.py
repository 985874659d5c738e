"""What all pictures of a run share: colours, letters, axes, and writing them as PNG and SVG files.

Figures are made without pyplot, so they share no state and can be drawn in any thread. Colours are
Okabe and Ito's, which people with colour-blindness tell apart (https://jfly.uni-koeln.de/color/).

In the SVG files letters are outlines: a name looks the same on a computer that lacks its font, and
cannot be anything but a picture. What is drawn alike is the same file to the last byte.
"""

import functools
import math
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, get_font_names
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pipeline.system.printable import printable

BLUE, ORANGE = "#0072B2", "#D55E00"
INK, QUIET, GRID, EMPTY = "#22272E", "#6B7280", "#E5E7EB", "#F6F7F9"
DOTS_PER_INCH = 150
TITLE_SIZE = 13
TITLE_LETTERS = 110

# matplotlib's own font has no Chinese, Japanese or Korean letters; these come with systems.
MORE_FONTS = (
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK KR", "Noto Sans JP", "Noto Sans SC"),
    *("Source Han Sans", "IPAexGothic", "TakaoGothic", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei"),
    *("Hiragino Sans", "PingFang SC", "Heiti SC", "Apple SD Gothic Neo", "Arial Unicode MS"),
    *("Microsoft YaHei", "SimHei", "Yu Gothic", "MS Gothic", "Malgun Gothic", "NanumGothic"),
)


def shorten(name: str, n_letters: int = TITLE_LETTERS) -> str:
    """A name as letters that matplotlib can draw, the middle left out where it is long.

    Stray bytes of a file's name make matplotlib fail; line breaks, control characters, and marks
    that turn the direction of writing it would obey.
    """
    name = printable(name)
    if len(name) <= n_letters:
        return name
    n_last = (n_letters - 1) // 2
    return f"{name[: n_letters - 1 - n_last]}…{name[-n_last:]}"


def name_style() -> dict[str, Any]:
    """How matplotlib must take a name: two `$` in it are no formula, and any script has a font."""
    return {"parse_math": False, "fontfamily": list_fonts()}


@functools.cache
def list_fonts() -> list[str]:
    """matplotlib's font, then those that are asked, in turn, for a letter that it lacks.

    Only installed ones: matplotlib warns of any other.
    """
    installed = set(get_font_names())
    return ["DejaVu Sans", *(name for name in MORE_FONTS if name in installed)]


def text_width(text: str, font_size: float, weight: str = "normal") -> float:
    """How wide a line of text is, inches."""
    with no_glyph_warnings():
        font = FontProperties(family=list_fonts(), size=font_size, weight=weight)
        return text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] / 72


@contextmanager
def no_glyph_warnings() -> Iterator[None]:
    """A letter that no font has is drawn as a box; nobody can do anything about it here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        yield


def caption_style(ax: Axes) -> dict[str, Any]:
    """Small and quiet, beside the axes."""
    return {"transform": ax.transAxes, "fontsize": 9, "color": QUIET}


def style_axes(ax: Axes) -> None:
    """Quiet axes: a grid of levels behind what is drawn, a line below, no frame."""
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.spines["bottom"].set_color(QUIET)
    ax.tick_params(axis="x", length=3, color=GRID, labelcolor=QUIET, labelsize=9)
    ax.tick_params(axis="y", length=0, labelcolor=QUIET, labelsize=9)
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    ax.grid(axis="y", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)


def show_percent(ax: Axes) -> None:
    """Shares, 0..1, along the y axis as percent."""
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))


def short_number(value: float) -> str:
    """Plain from 0.001 to 9999, else as people type it: 1e-5."""
    if value == 0 or 1e-3 <= abs(value) < 1e4 or not math.isfinite(value):
        return f"{value:g}"
    return np.format_float_scientific(value, precision=3, trim="-", exp_digits=1)


def write_figure(figure: Figure, path: Path, title: str, left: float) -> None:
    """Puts a title above a figure, smaller where it has no room, and writes its two files.

    Args:
        path: see `save_figure`.
        left: where the title begins, 0..1 of the figure's width.
    """
    width, height = figure.get_size_inches()
    if title:
        shown = shorten(title)
        room = (1 - left) * width - 0.2
        size = TITLE_SIZE * room / max(room, text_width(shown, TITLE_SIZE, "bold"))
        style: dict[str, Any] = {"fontweight": "bold", "color": INK, "va": "top", **name_style()}
        figure.text(left, 1 - 0.16 / height, shown, fontsize=size, **style)
    save_figure(figure, path, title)


def save_figure(figure: Figure, path: Path, title: str) -> None:
    """Writes a figure as a PNG and an SVG file.

    Args:
        path: of both, without their endings.
        title: what the SVG file is called by those who read it aloud.
    """
    save_pixels(figure, path, DOTS_PER_INCH)
    facts = {"Date": None, **({"Title": shorten(title)} if title else {})}
    with no_glyph_warnings(), _same_letters_and_ids():
        place = path.with_name(f"{path.name}.svg")
        figure.savefig(place, format="svg", facecolor="white", metadata=facts)


def save_pixels(figure: Figure, path: Path, dots_per_inch: int) -> None:
    """Writes a figure as a PNG file.

    Args:
        path: of the file, without its ending.
    """
    with no_glyph_warnings():
        figure.savefig(
            path.with_name(f"{path.name}.png"), format="png", dpi=dots_per_inch, facecolor="white"
        )


_svg_settings_held = threading.Lock()


@contextmanager
def _same_letters_and_ids() -> Iterator[None]:
    """matplotlib has no argument for these: they are settings of the whole process, put back."""
    settings = matplotlib.rcParams
    with _svg_settings_held:
        before = settings["svg.fonttype"], settings["svg.hashsalt"]
        settings["svg.fonttype"], settings["svg.hashsalt"] = "path", "frostline"
        try:
            yield
        finally:
            settings["svg.fonttype"], settings["svg.hashsalt"] = before
