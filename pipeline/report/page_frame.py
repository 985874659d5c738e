"""What all pages share: one file, nothing fetched, nothing run but the page's own scripts.

Templates, styles and scripts lie in `templates/`. A page's data is JSON in it; names reach the
screen as text only. The policy in its head names its one script and its one style sheet by their
sha256, so that nothing that a name might smuggle in could run.
"""

import base64
import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from pipeline.system.printable import printable


def fill_page(
    template: str,
    contents: object,
    data: Mapping[str, Any],
    styles: Sequence[str],
    scripts: Sequence[str],
) -> str:
    """A page, HTML.

    Args:
        template: its file in `templates/`.
        contents: what the template writes out itself; all of it is escaped.
        data: what the scripts read: plain values and dataclasses of them.
        styles: files of `templates/styles/` without their ending, in order.
        scripts: files of `templates/scripts/` likewise; all share one scope.
    """
    style = "".join(read_template(f"styles/{name}.css") for name in styles)
    script = "\n".join(read_template(f"scripts/{name}.js") for name in scripts)
    return render_page(read_template, template, contents, data, style, script)


def render_page(
    read: Callable[[str], str],
    template: str,
    contents: object,
    data: Mapping[str, Any],
    style: str,
    script: str,
    packed: Mapping[str, str] | None = None,
) -> str:
    """A page of any folder's template, HTML.

    Args:
        read: gives the text of a template of that folder by its name.
        template, contents, data: as in `fill_page`.
        style, script: all of both.
        packed: trusted text by the name that the template has for it, put in as it is.
    """
    style, script = "\n" + style, '\n"use strict";\n' + script
    return (
        _environment(read)
        .get_template(template)
        .render(
            contents=contents,
            style=Markup(style),
            style_hash=Markup(_hash_source(style)),
            script=Markup(script),
            script_hash=Markup(_hash_source(script)),
            data=Markup(_to_json(data)),
            **{name: Markup(text) for name, text in (packed or {}).items()},
        )
    )


def fill_still_page(template: str, contents: object, styles: Sequence[str]) -> str:
    """A page without any script, HTML; its template says its policy itself.

    Args:
        template: its file in `templates/`.
        contents: what the template writes out; all of it is escaped.
        styles: files of `templates/styles/` without their ending, in order.
    """
    style = Markup("".join(read_template(f"styles/{name}.css") for name in styles))
    return _environment(read_template).get_template(template).render(contents=contents, style=style)


@functools.cache
def _environment(read: Callable[[str], str]) -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True,
        loader=jinja2.FunctionLoader(read),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["printable"] = printable
    return environment


def read_template(name: str) -> str:
    """A file of `templates/`."""
    return files("pipeline.report").joinpath("templates", name).read_text("utf-8")


def _hash_source(text: str) -> str:
    """As a Content-Security-Policy names an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _to_plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return vars(value)
    if isinstance(value, Sequence):
        return list(value)
    raise TypeError(f"A page is made of plain data and dataclasses of it. Received: {value!r}")


def _to_json(data: Mapping[str, Any]) -> str:
    """ASCII alone, stray bytes as lone surrogates; no name in it can end the script element."""
    text = json.dumps(data, default=_to_plain, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")
