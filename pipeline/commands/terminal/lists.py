"""The lists in a terminal: runs, feature files, backbones. Names stay whole: people copy them.

A list has the columns that there is room for, the most important first. Where even the names have
no room, the terminal breaks the lines; nothing is shortened.
"""

from itertools import groupby
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.markup import escape
from rich.table import Table

from pipeline.commands.terminal.tables import make_table
from pipeline.system.printable import printable

if TYPE_CHECKING:
    from pipeline.backbones.registry import Backbone

_GAP = _EDGES = 2  # characters between columns, and at both ends together


def run_tables(entries: list[dict[str, Any]], width: int) -> list[tuple[str, Table]]:
    """A heading and a table for each data set and scored split, in the order of the entries."""
    rows = [_describe_run(entry) for entry in entries]
    important = (">accuracy", "95%", ">log-loss", "head", ">images", "made")
    columns = _fit_columns(rows, "run", important, width)
    tables = []
    for (root, split), group in groupby(
        zip(entries, rows, strict=True), lambda pair: (pair[0]["data_root"], pair[0]["split"])
    ):
        table = _make_list(columns, [row for _, row in group])
        heading = f"{PurePath(root).name}, {split} split ({root})"
        tables.append((printable(heading), table))
    return tables


def feature_files_table(entries: list[dict[str, Any]], width: int) -> Table:
    rows = [
        {
            "feature file": printable(entry["path"]),
            ">images": f"{entry['n_samples']:,}",
            ">features": f"{entry['n_features']:,}",
            "backbone": printable(entry["backbone"]),
            ">pixels": str(entry["image_size"]),
            "made": _to_minutes(entry["created"]),
        }
        for entry in entries
    ]
    important = (">images", "backbone", ">features", ">pixels", "made")
    return _make_list(_fit_columns(rows, "feature file", important, width), rows)


def backbones_table(backbones: list["Backbone"], width: int) -> Table:
    """Aliases stand beside the name, or below it where the line would be too long."""
    important = ("weights", ">pixels", ">features", ">top-1", ">params", ">mult-adds")
    for separator in (" ", "\n"):
        rows = [_describe_backbone(backbone, separator) for backbone in backbones]
        columns = _fit_columns(rows, "backbone (aliases)", important, width)
        if len(columns) == len(rows[0]):
            break
    return _make_list(columns, rows)


def _describe_run(entry: dict[str, Any]) -> dict[str, str]:
    low, high = entry["accuracy_interval"]
    return {
        "run": printable(entry["run"]),
        "head": printable(entry["kind"]),
        ">accuracy": f"{entry['accuracy']:.4f}",
        "95%": f"{low:.3f}-{high:.3f}",
        ">log-loss": f"{entry['log_loss']:.4f}",
        ">images": f"{entry['n_samples']:,}",
        "made": _to_minutes(entry["created"]),
    }


def _describe_backbone(backbone: "Backbone", separator: str) -> dict[str, str]:
    from pipeline.report.backbone_table import describe_numbers, name_source

    pixels, n_features, parameters, multiply_adds, top1 = describe_numbers(backbone)
    aliases = f"{separator}({', '.join(backbone.aliases)})" if backbone.aliases else ""
    return {
        "backbone (aliases)": backbone.name + aliases,
        ">pixels": pixels,
        ">features": n_features,
        ">params": parameters,
        ">mult-adds": multiply_adds,
        ">top-1": top1,
        "weights": name_source(backbone).lower(),
    }


def _to_minutes(created: str) -> str:
    return printable(created[:16].replace("T", " "))


def _fit_columns(
    rows: list[dict[str, str]], name: str, important: tuple[str, ...], width: int
) -> dict[str, int]:
    """Columns that fit and their widths, in the order of the rows; two there are in any case.

    Args:
        rows: cells by the head of their column.
        name: the column that is never left out, nor is the first of the important ones.
        important: the other columns, the most important first.
        width: characters.
    """
    widths = {
        column: max(
            cell_len(line)
            for text in (column.lstrip(">"), *(row[column] for row in rows))
            for line in text.split("\n")
        )
        for column in rows[0]
    }
    chosen = {name, important[0]}
    for column in important[1:]:
        total = sum(widths[one] + _GAP for one in {*chosen, column}) - _GAP + _EDGES
        if total <= width:
            chosen.add(column)
    return {column: widths[column] for column in rows[0] if column in chosen}


def _make_list(columns: dict[str, int], rows: list[dict[str, str]]) -> Table:
    table = make_table(*columns)
    table.collapse_padding = True
    for column, width in zip(table.columns, columns.values(), strict=True):
        column.min_width = width  # tables below one another have their columns in line
    for row in rows:
        table.add_row(*(escape(row[column]) for column in columns))
    return table
