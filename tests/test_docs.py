"""The pages for people: what they point to is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _relative_links(page: Path) -> list[str]:
    """What `[text](target)` and images point to, without addresses and places on the same page."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return [target for target in targets if not re.match(r"[a-z]+:|#", target)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file(page):
    paths = [page.parent / link.partition("#")[0] for link in _relative_links(page)]
    assert [path for path in paths if not path.exists()] == []


def test_the_readme_has_links_to_check():
    assert "docs/backbones.md" in _relative_links(ROOT / "README.md")


def test_nobody_is_advised_to_install_what_is_on_no_index():
    """Frostline is not on PyPI: `pip install 'frostline[hub]'` would find nothing."""
    places = [*PAGES, *(ROOT / "pipeline").rglob("*.py")]
    assert [p for p in places if re.search(r"pip install\W+frostline", p.read_text())] == []
