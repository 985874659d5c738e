"""What is taken for what: the confusion matrix where it has room, else the worst of its cells."""

from typing import TYPE_CHECKING

import numpy as np
from rich.cells import cell_len, set_cell_size
from rich.table import Table
from rich.text import Text

from pipeline.commands.terminal.tables import make_table
from pipeline.system.printable import visible

if TYPE_CHECKING:
    from pipeline.runs.scores import Metrics

MOST_CLASSES = 10  # of a matrix
MOST_PAIRS = 10
_GAP = 2  # characters between columns
_NAME_LENGTHS = (24, 12, 8, 6)  # characters of a name above a column, the longest that has room
_LONGEST_NAME = 20  # characters of a name in front of a row


def confusion_table(metrics: "Metrics", width: int) -> Table | None:
    """The matrix, rows are labels; None where nothing is wrong, or it has no room.

    Args:
        width: characters of a line.
    """
    matrix = metrics.confusion_matrix
    names = [visible(one.name) for one in metrics.per_class]
    if not 2 <= len(matrix) <= MOST_CLASSES or not _count_wrong(matrix):
        return None
    rows = [_shorten(name, _LONGEST_NAME) for name in names]
    for length in _NAME_LENGTHS:
        heads = [_shorten(name, length) for name in names]
        if len(set(heads)) == len(set(names)) and _measure(rows, heads, matrix) <= width:
            return _draw(rows, heads, matrix)
    return None


def describe_confusions(metrics: "Metrics") -> list[str]:
    """The cells of the matrix beside its diagonal with most images, a line each."""
    matrix = metrics.confusion_matrix
    n_wrong = _count_wrong(matrix)
    if not n_wrong:
        return []
    wrong = matrix - np.diag(np.diag(matrix))
    pairs = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    shown = [divmod(pair, len(matrix)) for pair in pairs.tolist() if wrong.flat[pair] > 0]
    totals = matrix.sum(axis=1)
    names = [visible(one.name) for one in metrics.per_class]
    n_kinds = int((wrong > 0).sum())
    which = f", the {len(shown)} most frequent of {n_kinds:,}" if len(shown) < n_kinds else ""
    return [
        f"Taken for another class{which}:",
        *(
            f"  {names[label]}, taken for {names[called]}: {wrong[label, called]:,} of "
            f"{totals[label]:,}"
            for label, called in shown
        ),
    ]


def _count_wrong(matrix: np.ndarray) -> int:
    return int(matrix.sum() - np.trace(matrix)) if matrix.size else 0


def _shorten(name: str, length: int) -> str:
    return name if cell_len(name) <= length else set_cell_size(name, length - 1).rstrip() + "…"


def _measure(rows: list[str], heads: list[str], matrix: np.ndarray) -> int:
    """Characters in a line of the table."""
    cells = [
        max(cell_len(head), len(f"{greatest:,}"))
        for head, greatest in zip(heads, matrix.max(axis=0), strict=True)
    ]
    first = max(map(cell_len, ["label \\ taken for", *rows]))
    return 2 + first + sum(cells) + _GAP * len(cells)


def _draw(rows: list[str], heads: list[str], matrix: np.ndarray) -> Table:
    table = make_table("label \\ taken for", *(f">{head}" for head in heads))
    table.collapse_padding = True
    for label, (name, counts) in enumerate(zip(rows, matrix.tolist(), strict=True)):
        table.add_row(
            Text(name),
            *(
                f"[bold]{count:,}[/bold]" if called == label else f"{count:,}" if count else "·"
                for called, count in enumerate(counts)
            ),
        )
    return table
