"""Tables for the terminal: quiet ones, with a thin rule below the head."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from pipeline.system.printable import printable

if TYPE_CHECKING:
    from pipeline.runs.scores import Metrics


def count(number: int, word: str) -> str:
    """`1 image`, `2 images`, `3 classes`."""
    ending = "" if number == 1 else "es" if word.endswith("s") else "s"
    return f"{number:,} {word}{ending}"


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
            column.lstrip(">"),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="fold",
        )
    return table


def score_table(metrics: Mapping[str, "Metrics"]) -> Table:
    table = make_table(
        "split", ">images", ">accuracy", ">95% interval", ">balanced", ">macro F1", ">log-loss"
    )
    for name, m in metrics.items():
        low, high = m.accuracy_interval
        table.add_row(
            name,
            f"{m.n_samples:,}",
            f"{m.accuracy:.4f}",
            f"{low:.4f} - {high:.4f}",
            f"{m.balanced_accuracy:.4f}",
            f"{m.macro_f1:.4f}",
            f"{m.log_loss:.4f}",
        )
    return table


def per_class_table(metrics: "Metrics", split: str) -> Table:
    table = make_table(f"class ({split})", ">images", ">precision", ">recall", ">F1")
    for c in metrics.per_class:
        numbers = ("-" if x is None else f"{x:.3f}" for x in (c.precision, c.recall, c.f1))
        table.add_row(escape(printable(c.name)), f"{c.n_samples:,}", *numbers)
    return table
