"""What a run predicts, as a table, CSV or JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.commands.terminal.tables import long_table
from pipeline.system.printable import printable

if TYPE_CHECKING:
    from pipeline.classifier.model import Prediction


@dataclass(frozen=True)
class Row:
    """One image: its path, its best classes with their probabilities, or why it has none."""

    path: str
    best: list[tuple[str, float]]
    reason: str | None


def list_best(predictions: "Sequence[Prediction]", class_names: list[str], top: int) -> list[Row]:
    """The `top` most probable classes of each image."""
    rows = []
    for prediction in predictions:
        best = []
        if prediction.probabilities is not None:
            order = np.argsort(-prediction.probabilities, kind="stable")[:top]
            best = [(class_names[i], float(prediction.probabilities[i])) for i in order]
        rows.append(Row(str(prediction.path), best, prediction.reason))
    return rows


def predictions_lines(rows: list[Row], width: int) -> Iterator[str]:
    """A table with a line for each class of each image that could be used, if any could."""
    cells = [
        [printable(row.path) if rank == 0 else "", printable(name), f"{probability:.3f}"]
        for row in rows
        for rank, (name, probability) in enumerate(row.best)
    ]
    if cells:
        yield from long_table(["image", "class", ">probability"], cells, width)


def predictions_csv(rows: list[Row], top: int) -> Iterator[list[str]]:
    """Rows of cells, the first of them the columns' names."""
    ranks = range(1, top + 1)
    columns = [name for rank in ranks for name in (f"class_{rank}", f"probability_{rank}")]
    yield ["path", *columns, "skipped"]
    for row in rows:
        cells = [cell for name, p in row.best for cell in (name, f"{p:.6f}")]
        yield [row.path, *(cells or [""] * len(columns)), row.reason or ""]


def predictions_json(rows: list[Row]) -> list[dict[str, Any]]:
    """An object for each image."""
    return [
        {"path": row.path, "classes": [{"name": n, "probability": p} for n, p in row.best]}
        if row.reason is None
        else {"path": row.path, "skipped": row.reason}
        for row in rows
    ]
