"""Images per class and split as a table with a bar for each class, for a terminal of 80 columns."""

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from pipeline.system.printable import visible

_NAME_COLUMNS = 28
_BAR_COLUMNS = 20
_ALL_SHOWN = 30  # more classes than this are not shown one by one
_N_ENDS = 10  # but so many of the largest and of the smallest


def draw_class_chart(class_names: list[str], counts: np.ndarray, columns: list[str]) -> Table:
    """The chart; of many classes the largest and the smallest, which are those to look at.

    Args:
        counts: int (n_classes, n_columns).
        columns: what is counted in each column, such as train and val; none = only the total.
    """
    totals = counts.sum(axis=1)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("class", no_wrap=True, overflow="ellipsis", max_width=_NAME_COLUMNS)
    for column in [*columns, "images"]:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    order = range(len(class_names))
    gap = None
    if len(class_names) > _ALL_SHOWN:
        by_size = np.argsort(-totals, kind="stable").tolist()
        order, gap = by_size[:_N_ENDS] + by_size[-_N_ENDS:], by_size[_N_ENDS:-_N_ENDS]
    for position, label in enumerate(order):
        if gap and position == _N_ENDS:
            low, high = totals[gap].min(), totals[gap].max()
            size = f"{high:,}" if low == high else f"{high:,}-{low:,}"
            table.add_row(
                f"[dim]{len(gap):,} more[/dim]", *[""] * len(columns), f"[dim]{size}[/dim]"
            )
        table.add_row(
            Text(visible(class_names[label])),
            *(f"{count:,}" for count in (counts[label] if columns else ())),
            f"{totals[label]:,}",
            _draw_bar(totals[label], totals.max()),
        )
    return table


def _draw_bar(count: int, greatest: int) -> str:
    """A bar that is as long as the class is large; none is shorter than an eighth of a column."""
    eighths = max(1, round(_BAR_COLUMNS * 8 * count / max(1, greatest))) if count else 0
    full, rest = divmod(eighths, 8)
    return "█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")
