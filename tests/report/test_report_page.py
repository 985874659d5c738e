"""Pages without a browser: what is in their one file, and what can run in it."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from page_contents import make_audit, make_report

from pipeline.report.audit_page import draw_audit_page
from pipeline.report.report_page import draw_report_page

EVIL = "</script><script>alert(1)</script> <img src=x onerror=alert(1)> \" ' \n \u202e \udcff"


class Elements(HTMLParser):
    """Every element of a page with its attributes, and the text of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open = ""
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.open = tag
        if tag in self.texts:
            self.texts[tag].append("")

    def handle_endtag(self, tag):
        self.open = ""

    def handle_data(self, data):
        if self.open in self.texts:
            self.texts[self.open][-1] += data


PAGES = {
    "report": lambda name: draw_report_page(
        make_report((name, "b"), n_per_class=4, n_runs=2, title=name, path_of=lambda *_: name)
    ),
    "audit": lambda name: draw_audit_page(make_audit((name, "b"), path_of=lambda *_: name)),
}


@pytest.mark.parametrize("kind", PAGES)
def test_a_page_lets_nothing_run_but_its_own_script_and_fetches_nothing(kind):
    elements = Elements(PAGES[kind](EVIL))
    policy = next(
        attributes["content"]
        for tag, attributes in elements.found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    )
    data, script = elements.texts["script"]
    (style,) = elements.texts["style"]
    hashes = [
        "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, script)
    ]
    assert policy == (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src '{hashes[0]}'; script-src '{hashes[1]}'"
    )
    assert json.loads(data)["class_names"] == [EVIL, "b"]
    for tag, attributes in elements.found:
        assert tag not in ("img", "iframe", "object", "embed", "base", "form")
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href"):
            assert re.match(r"#|data:,|$", attributes.get(name) or "")


@settings(max_examples=30, deadline=None)
@given(st.text(st.characters(categories=["L", "P", "S", "Z", "C"]), max_size=30))
def test_any_name_comes_back_whole_from_a_page_and_makes_no_element(name):
    plain = [tag for tag, _ in Elements(PAGES["audit"]("plain")).found]
    elements = Elements(PAGES["audit"](name))
    assert [tag for tag, _ in elements.found] == plain
    data = json.loads(elements.texts["script"][0])
    assert data["table"][0] == [name, name]


def test_ten_thousand_images_take_little_beside_their_pictures():
    contents = make_report(n_per_class=2000)
    page = draw_report_page(contents)
    pictures = sum(len(sheet.url) for sheet in contents.sheets)
    assert len(page.encode()) - pictures < 1_300_000


def test_what_is_no_plain_data_is_named():
    with pytest.raises(TypeError, match=r"plain data.*Received: \{1\}"):
        draw_report_page(make_report([{1}, "b"]))  # type: ignore[arg-type]
