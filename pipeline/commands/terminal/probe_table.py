"""A probe on the terminal: the candidates, the best first."""

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from pipeline.commands.terminal.tables import MOST_ROWS, make_table
from pipeline.system.printable import count, visible

if TYPE_CHECKING:
    from pipeline.heads.probe.probed import Probe, Tried


def probe_table(found: "Probe") -> Table:
    """Those that were tried; of more than twenty the best twenty."""
    table = make_table(
        "  backbone", ">px", ">images", ">accuracy, 95%", ">sure", ">gap", ">img/s", ">min"
    )
    table.collapse_padding = True  # so that all fits into 80 characters
    for one in _list_tried(found)[:MOST_ROWS]:
        assert one.interval is not None and one.difference is not None
        low, high = (100 * end for end in one.interval)
        mark = "*" if one is found.recommended else "-" if one.is_certainly_worse else " "
        table.add_row(
            Text(f"{mark} {visible(one.backbone)}"),
            f"{one.image_size}",
            f"{one.n_images:,}",
            f"{one.accuracy:.1%} ({low:.1f}-{high:.1f})",
            f"{one.sureness:.1%}",
            "" if one is found.best else f"{100 * one.difference.mean:+.1f}",
            f"{one.rate:,.0f}",
            _write_minutes(one.minutes),
        )
    return table


def describe_probe(found: "Probe") -> list[str]:
    """What the table stands for, what has no room in it, and the recommendation."""
    n_tried, lines = len(_list_tried(found)), []
    if n_tried > MOST_ROWS:
        lines.append(f"{n_tried - MOST_ROWS:,} more were tried, none of them better.")
    untried = [one for one in found.tried if one.accuracy is None]
    if untried:
        names = ", ".join(f"{visible(one.backbone)} {one.image_size}" for one in untried[:6])
        more = f" and {len(untried) - 6:,} more" if len(untried) > 6 else ""
        lines.append(f"Not tried: {names}{more}.")
    lines.append(
        f"Each image was scored by a ridge head on the others, {count(found.n_classes, 'class')}. "
        "Sure: the mean probability of the right class, by which they are ranked. Gap: points "
        "of accuracy to the best on the same images; a - in front: worse for certain (95%). Min: "
        f"minutes that all {count(found.n_total, 'image')} take here."
    )
    lines.append(f"* {found.reason}")
    return lines


def _list_tried(found: "Probe") -> list["Tried"]:
    return [one for one in found.tried if one.accuracy is not None]


def _write_minutes(minutes: float) -> str:
    return f"{minutes:,.0f}" if minutes >= 9.95 else f"{minutes:.1f}"
