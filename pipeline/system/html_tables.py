"""Small tables for notebooks; whatever names are in them, they stay text."""

import html
from collections.abc import Mapping

from pipeline.system.printable import printable


def html_table(heading: str, facts: Mapping[str, str]) -> str:
    """A heading and a line for each fact, as HTML."""
    lines = "".join(
        f'<tr><th style="text-align: left">{_escape(name)}</th>'
        f'<td style="text-align: left">{_escape(value)}</td></tr>'
        for name, value in facts.items()
    )
    return f"<table><caption>{_escape(heading)}</caption><tbody>{lines}</tbody></table>"


def _escape(text: str) -> str:
    return html.escape(printable(text), quote=True)
