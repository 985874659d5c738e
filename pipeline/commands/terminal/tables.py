"""Tables for the terminal: quiet ones, with a thin rule below the head."""

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.table import Table
from rich.text import Text

from pipeline.system.printable import visible

if TYPE_CHECKING:
    from pipeline.runs.scores import ClassMetrics, Metrics

MOST_ROWS = 20
_LEAST_NAME = 16  # characters of a name in one line
_GAP = 3  # characters between two columns, at most


def describe_size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:,.0f} kB"


def plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(inner)}" for name, inner in value.items())
    if isinstance(value, list | tuple):
        is_numbers = all(isinstance(inner, int | float) for inner in value)
        return (" " if is_numbers else ", ").join(plain(inner) for inner in value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def make_table(*columns: str) -> Table:
    """A table with a thin rule below its head; a text that has no room goes on in the next line.

    `>` in front of a column aligns it right and keeps it in one line: for numbers.
    """
    from rich import box

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        table.add_column(
            Text(column.removeprefix(">")),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",
        )
    return table


def long_table(columns: list[str], rows: list[list[str]], width: int) -> Iterator[str]:
    """Lines of a table like that of `make_table`, for any number of rows: rich takes 1 ms for each.

    A text that has no room goes on in the next line.

    Args:
        columns: `>` in front of a column aligns it right and keeps it in one line.
        rows: cells, as printable text.
        width: characters.
    """
    heads = [column.removeprefix(">") for column in columns]
    widths = [max(map(cell_len, cells)) for cells in zip(heads, *rows, strict=True)]
    room = width - 2 - _GAP * (len(columns) - 1)
    texts = [place for place, column in enumerate(columns) if not column.startswith(">")]
    while sum(widths) > room and max(widths[place] for place in texts) > _LEAST_NAME:
        widest = max(texts, key=lambda place: widths[place])
        rest = max((widths[place] for place in texts if place != widest), default=0)
        widths[widest] = max(_LEAST_NAME, widths[widest] - sum(widths) + room, rest - 1)

    def lay_out(cells: list[str]) -> Iterator[str]:
        parts = [_fold(cell, size) for cell, size in zip(cells, widths, strict=True)]
        for line in zip_longest(*parts, fillvalue=""):
            padded = (
                set_cell_size(text, size) if place in texts else text.rjust(size)
                for place, (text, size) in enumerate(zip(line, widths, strict=True))
            )
            yield (" " + (" " * _GAP).join(padded)).rstrip()

    yield ""
    yield from lay_out(heads)
    yield " " + "─" * (sum(widths) + _GAP * (len(columns) - 1))
    for cells in rows:
        yield from lay_out(cells)
    yield ""


def _fold(text: str, size: int) -> list[str]:
    return [text] if cell_len(text) <= size else chop_cells(text, size)


def score_table(metrics: Mapping[str, "Metrics"]) -> Table:
    table = make_table(
        "split", ">images", ">accuracy", ">95% interval", ">balanced", ">macro F1", ">log-loss"
    )
    table.collapse_padding = True  # so that all fits into 80 characters
    for name, m in metrics.items():
        low, high = m.accuracy_interval
        table.add_row(
            name,
            f"{m.n_samples:,}",
            f"{m.accuracy:.4f}",
            f"{low:.4f}-{high:.4f}",
            f"{m.balanced_accuracy:.4f}",
            f"{m.macro_f1:.4f}",
            f"{m.log_loss:.4f}",
        )
    return table


def per_class_table(metrics: "Metrics", split: str) -> Table:
    """The classes; of more than twenty the worst twenty, which are those to look at."""
    is_cut = len(metrics.per_class) > MOST_ROWS
    classes = (
        sorted(metrics.per_class, key=_rank_class)[:MOST_ROWS] if is_cut else metrics.per_class
    )
    of = f", the {MOST_ROWS} worst" if is_cut else ""
    table = make_table(f"class ({split}{of})", ">images", ">precision", ">recall", ">F1")
    for c in classes:
        numbers = ("-" if x is None else f"{x:.3f}" for x in (c.precision, c.recall, c.f1))
        table.add_row(Text(visible(c.name)), f"{c.n_samples:,}", *numbers)
    return table


def describe_other_classes(metrics: "Metrics", place: str) -> list[str]:
    """A sentence on the classes that have no room in the table; none where all have.

    Args:
        place: where they all are.
    """
    n_more = len(metrics.per_class) - MOST_ROWS
    words = "class" if n_more == 1 else "classes"
    return [f"{n_more:,} more {words}, none with a lower F1: {place}."] if n_more > 0 else []


def _rank_class(one: "ClassMetrics") -> tuple[bool, float, float, int]:
    """The lowest F1 first, of equals the lower recall, then more images; those without any last."""
    return one.n_samples == 0, one.f1 or 0.0, one.recall or 0.0, -one.n_samples


def least_width(table: Table) -> int:
    """Characters that a table needs so that no number is cut off; names go on in the next line."""
    from rich.console import Console

    wide = Console(width=100_000)
    total = 0
    for column in table.columns:
        texts = [column.header, *column.cells]
        widest = max(wide.measure(text).maximum for text in texts)
        total += widest if column.no_wrap else min(widest, _LEAST_NAME)
    return total + _GAP * len(table.columns)
