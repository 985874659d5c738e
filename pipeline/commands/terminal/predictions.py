"""What a run predicts, as a table or CSV."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.commands.terminal.tables import long_table
from pipeline.system.printable import printable, visible

if TYPE_CHECKING:
    from pipeline.classifier.prediction import Prediction


@dataclass(frozen=True)
class Row:
    """One image: its path, its best classes with their probabilities, or why it has none.

    `answer` is a class, or None where the run's promise covers none, for the reason `no_answer`.
    """

    path: str
    best: list[tuple[str, float]]
    reason: str | None
    answer: str | None
    no_answer: str | None


def list_best(predictions: "Sequence[Prediction]", class_names: list[str], top: int) -> list[Row]:
    """The `top` most probable classes of each image."""
    return [
        Row(
            str(prediction.path),
            prediction.list_best(class_names, top),
            prediction.reason,
            prediction.answer,
            prediction.no_answer,
        )
        for prediction in predictions
    ]


def predictions_lines(rows: list[Row], width: int, *, promises: bool = False) -> Iterator[str]:
    """A table with a line for each class of each image that could be used, if any could.

    Of a run that makes a promise, a column says what it answers; the classes are what it thinks.
    """
    columns = ["image", *(["answer"] if promises else []), "class", ">probability"]
    cells = []
    for row in rows:
        for rank, (name, probability) in enumerate(row.best):
            first = [row.path, *([row.answer or row.no_answer or ""] if promises else [])]
            firsts = [printable(cell) if rank == 0 else "" for cell in first]
            cells.append([*firsts, visible(name), f"{probability:.3f}"])
    if cells:
        yield from long_table(columns, cells, width)


def predictions_csv(rows: list[Row], top: int, *, promises: bool = False) -> Iterator[list[str]]:
    """Rows of cells, the first of them the columns' names.

    Of a run that makes a promise, `answer` is a class or empty, and `no_answer` says why.
    """
    ranks = range(1, top + 1)
    columns = [name for rank in ranks for name in (f"class_{rank}", f"probability_{rank}")]
    more = ["answer", "no_answer"] if promises else []
    yield ["path", *more, *columns, "skipped"]
    for row in rows:
        cells = [cell for name, p in row.best for cell in (name, f"{p:.6f}")]
        answer = [row.answer or "", row.no_answer or ""] if promises else []
        yield [row.path, *answer, *(cells or [""] * len(columns)), row.reason or ""]
