"""The lists in a terminal: runs, feature files, backbones. Names stay whole: people copy them.

A list has the columns that there is room for, the most important first. What has no room stands
below the name: nothing is left out, and nothing shortened. Where even the names have no room, the
terminal breaks the lines.
"""

import textwrap
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from pipeline.commands.terminal.tables import make_table
from pipeline.system.printable import printable

if TYPE_CHECKING:
    from pipeline.backbones.backbone import Backbone
    from pipeline.backbones.engines.network_store import StoredNetwork

SETTINGS = "settings"  # the one column whose cells need no name in front

_GAP = _EDGES = 2  # characters between columns, and at both ends together
_INDENT = "  "
_KEPT = "\N{NO-BREAK SPACE}"  # where a line must not be broken

Row = dict[str, str]  # cells by the head of their column, `>` in front of those of numbers


def feature_files_table(entries: list[dict[str, Any]], width: int) -> Table:
    rows = [
        {
            "feature file": printable(entry["path"]),
            ">images": f"{entry['n_samples']:,}",
            ">features": f"{entry['n_features']:,}",
            "backbone": printable(entry["backbone"]),
            ">pixels": str(entry["image_size"]),
            "made": to_minutes(entry["created"]),
        }
        for entry in entries
    ]
    important = (">images", "backbone", ">features", ">pixels", "made")
    (table,) = list_tables([rows], important, width)
    return table


def networks_table(networks: list["StoredNetwork"], width: int) -> Table:
    rows = [
        {
            "converted network": printable(network.title),
            ">MB": f"{network.n_bytes / 1e6:,.0f}",
            "used last": datetime.fromtimestamp(network.last_used).strftime("%Y-%m-%d %H:%M"),
        }
        for network in networks
    ]
    (table,) = list_tables([rows], (">MB", "used last"), width)
    return table


def backbones_table(backbones: list["Backbone"], width: int) -> Table:
    """Aliases stand beside the name, or below it where the line would be too long."""
    important = ("weights", ">pixels", ">features", ">top-1", ">params", ">mult-adds")
    for separator in (" ", "\n"):
        rows = [_describe_backbone(backbone, separator) for backbone in backbones]
        if len(_fit_columns(rows, important, width)) == len(rows[0]):
            break
    (table,) = list_tables([rows], important, width)
    return table


def _describe_backbone(backbone: "Backbone", separator: str) -> Row:
    from pipeline.backbones.backbone_table import describe_numbers, name_source

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


def to_minutes(created: str) -> str:
    return printable(created[:16].replace("T", " "))


def list_tables(groups: list[list[Row]], important: tuple[str, ...], width: int) -> list[Table]:
    """A table for each group of rows, whose columns are in line with those of all others.

    Args:
        important: the columns besides the first, which is never left out: the most important first.
        width: characters.
    """
    everything = [row for rows in groups for row in rows]
    columns = _fit_columns(everything, important, width)
    name, *others = columns
    room = width - _EDGES - sum(columns[column] + _GAP for column in others)
    room = max(columns[name], room)
    cells = [[_fill_cells(row, columns, room) for row in rows] for rows in groups]
    widths = [
        max(_widest(column), *(_widest(row[place]) for rows in cells for row in rows))
        for place, column in enumerate(columns)
    ]
    shown = [column for column in important if column in columns]
    if sum(widths) + _GAP * (len(widths) - 1) + _EDGES > width and len(shown) > 1:
        # What stands below the names needs more room than they do.
        return list_tables(groups, tuple(one for one in important if one != shown[-1]), width)
    return [_make_list(list(columns), widths, rows) for rows in cells]


def _fit_columns(rows: list[Row], important: tuple[str, ...], width: int) -> dict[str, int]:
    """Columns that fit and their widths, in the order of the rows; two there are in any case."""
    widths = {
        column: max(_widest(text) for text in (column, *(row[column] for row in rows)))
        for column in rows[0]
    }
    chosen = {next(iter(rows[0])), important[0]}
    for column in important[1:]:
        total = sum(widths[one] + _GAP for one in {*chosen, column}) - _GAP + _EDGES
        if total <= width:
            chosen.add(column)
    return {column: widths[column] for column in rows[0] if column in chosen}


def _fill_cells(row: Row, columns: dict[str, int], room: int) -> list[str]:
    """The cells of a row; what has no column goes on below the name, in so many characters."""
    name = next(iter(row))
    facts = (
        text if column == SETTINGS else f"{column.removeprefix('>')} {text}".replace(" ", _KEPT)
        for column, text in row.items()
        if column not in columns and text
    )
    below = textwrap.wrap(
        ", ".join(facts),
        room,
        initial_indent=_INDENT,
        subsequent_indent=_INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    lines = [row[name], *(line.replace(_KEPT, " ") for line in below)]
    return ["\n".join(lines), *(row[column] for column in columns if column != name)]


def _widest(text: str) -> int:
    return max(cell_len(line) for line in text.removeprefix(">").split("\n"))


def _make_list(columns: list[str], widths: list[int], rows: list[list[str]]) -> Table:
    table = make_table(*columns)
    table.collapse_padding = True
    for column, width in zip(table.columns, widths, strict=True):
        column.min_width = width
    for row in rows:
        table.add_row(*map(Text, row))
    return table
