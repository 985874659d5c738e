"""Draws docs/images/architecture.svg: the floors of pipeline/, who imports whom, the data's way.

`python docs/draw_architecture.py` writes it, from the imports and the packages' docstrings as they
are; a test compares.
"""

import ast
from collections import Counter
from html import escape
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "architecture.svg"

# From the top; the same order as the import rule's in setup.cfg.
FLOORS = (
    *("commands", "finetuning", "classifier", "report", "heads", "runs"),
    *("features", "backbones", "images", "system", "recipe", "errors"),
)
STAGES = {"features": "1", "heads": "2", "finetuning": "3"}
# Where the data goes: from a folder of photos up to what a user gets.
WAY = (
    ("images", "features", "pixels"),
    ("backbones", "features", "network"),
    ("features", "heads", "rows, .h5"),
    ("heads", "classifier", "head, run"),
    ("classifier", "finetuning", "model"),
)

ROW, TOP, LEFT = 46, 86, 150
NAME_WIDTH, JOB_WIDTH, CELL = 120, 620, 32
GRID = LEFT + NAME_WIDTH + JOB_WIDTH + 100
STYLE = """
text { font: 14px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2733 }
.title { font-size: 20px; font-weight: 600 } .quiet { fill: #667085; font-size: 12.5px }
.name { font-weight: 600; font-size: 15px } .head { font-size: 12.5px; fill: #475467 }
.way { fill: #b54708; font-size: 12px }
"""


def count_imports() -> Counter:
    """(importing place, imported place) -> number of imports, of the entries of pipeline/."""
    graph = grimp.build_graph("pipeline", cache_dir=None)
    counts: Counter = Counter()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = tuple(name.split(".")[1] for name in (module, imported) if "." in name)
            if len(pair) == 2 and pair[0] != pair[1]:
                counts[pair] += 1
    return counts


def read_job(place: str) -> str:
    """The first sentence of a package's or module's docstring."""
    path = ROOT / "pipeline" / place
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(source.read_text())) or ""
    return text.split("\n")[0].rstrip(".").replace("`", "")


def draw() -> str:
    """The picture as SVG."""
    width = GRID + CELL * len(FLOORS) + 24
    height = TOP + ROW * len(FLOORS) + 24
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#f79009"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        '<text x="24" y="36" class="title">pipeline/: the floors</text>',
        '<text x="24" y="58" class="quiet">A place imports only from places below it. '
        "1, 2, 3: the stages.</text>",
        *(_draw_floor(number, place) for number, place in enumerate(FLOORS)),
        *_draw_way(),
        *_draw_grid(count_imports()),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _y(place: str) -> int:
    return TOP + ROW * FLOORS.index(place)


def _draw_floor(number: int, place: str) -> str:
    y = TOP + ROW * number
    fill = "#eef4ff" if place in STAGES else "#f7f8fa"
    suffix = "/" if (ROOT / "pipeline" / place).is_dir() else ".py"
    stage = (
        f'<circle cx="{LEFT + 18}" cy="{y + 20}" r="11" fill="#3538cd"/>'
        f'<text x="{LEFT + 18}" y="{y + 25}" text-anchor="middle" '
        f'style="fill:#fff;font-weight:600">{STAGES[place]}</text>'
        if place in STAGES
        else ""
    )
    return (
        f'<rect x="{LEFT}" y="{y}" width="{NAME_WIDTH + JOB_WIDTH + 20}" height="{ROW - 6}" rx="8" '
        f'fill="{fill}"/>{stage}'
        f'<text x="{LEFT + 38}" y="{y + 25}" class="name">{place}{suffix}</text>'
        f'<text x="{LEFT + NAME_WIDTH + 22}" y="{y + 25}">{escape(read_job(place))}</text>'
    )


def _draw_way() -> list[str]:
    parts = []
    for number, (source, target, what) in enumerate(WAY):
        start, end = _y(source) + 14, _y(target) + 26
        bend = LEFT - 34 - 22 * (number % 2)
        parts.append(
            f'<path d="M{LEFT - 4},{start} C{bend},{start} {bend},{end} {LEFT - 6},{end}" '
            'fill="none" stroke="#f79009" stroke-width="2" marker-end="url(#tip)"/>'
        )
        parts.append(
            f'<text x="{bend + 4}" y="{(start + end) // 2 + 4}" text-anchor="end" class="way">'
            f"{what}</text>"
        )
    return parts


def _draw_grid(counts: Counter) -> list[str]:
    """A dot where the row's place imports the column's; the larger, the more often."""
    parts = [
        f'<text x="{GRID}" y="36" class="head">who imports whom: {len(counts)} arrows, '
        "all of them downwards</text>"
    ]
    for column, place in enumerate(FLOORS):
        x = GRID + CELL * column + CELL // 2
        parts.append(
            f'<line x1="{x}" y1="{TOP + ROW * column + 8}" x2="{x}" y2="{TOP - 4}" '
            'stroke="#eaecf0"/>'
        )
        parts.append(
            f'<text x="{x + 10}" y="{TOP + ROW * column + 25}" text-anchor="end" class="head">'
            f"{place}</text>"
        )
    for (source, target), count in sorted(counts.items()):
        x = GRID + CELL * FLOORS.index(target) + CELL // 2
        radius = round(2.5 + min(9.0, 1.5 * count**0.5), 1)
        parts.append(
            f'<circle cx="{x}" cy="{_y(source) + 20}" r="{radius}" fill="#84adff">'
            f"<title>{source} imports {target} {count} times</title></circle>"
        )
    return parts


if __name__ == "__main__":
    PICTURE.write_text(draw())
