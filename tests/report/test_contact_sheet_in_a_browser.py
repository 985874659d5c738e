"""A contact sheet in a real browser: wide and narrow, light and dark, by keys, with evil names."""

import pytest
from browser import find_overlaps, find_violations, open_chromium, open_file, tab_through
from page_contents import draw_tile, make_sheet

from pipeline.report.contact_sheet_page import (
    ContactSheet,
    SheetGroup,
    SheetImage,
    draw_contact_sheet,
)

pytestmark = pytest.mark.browser

EVIL = "<script>document.title='taken'</script> \" ' & </style></li>"
N_IMAGES = 24


@pytest.fixture(scope="module")
def browser():
    with open_chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    names = [EVIL, *(f"photo-with-quite-a-long-name-{n}.jpg" for n in range(1, N_IMAGES))]
    images = [
        SheetImage(name, f"in/{name}", "%3Cscript%3E.jpg", "98.7%", (0, n) if n % 7 else None)
        for n, name in enumerate(names)
    ]
    page = draw_contact_sheet(
        ContactSheet(
            title=f"flowers: {EVIL}",
            summary=["Images in /data/inbox, by the class that a run takes them for."],
            tile=112,
            sheets=[make_sheet([draw_tile(n % 3, n) for n in range(N_IMAGES)])],
            groups=[
                SheetGroup(EVIL, "", images[:9]),
                SheetGroup("unsure", "The class is the best guess.", images[9:]),
            ],
            skipped=[("x" * 200, "truncated: its data end before its last rows"), (EVIL, EVIL)],
            notes=["Without a picture: 4 images that cannot be read any more."],
        )
    )
    file = tmp_path_factory.mktemp("sheet") / "contact-sheet.html"
    file.write_text(page, encoding="utf-8")
    return file


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_contact_sheet_fits_the_window_and_all_can_read_it(browser, path, width, scheme):
    with open_file(browser, path, width, color_scheme=scheme) as (page, complaints):
        assert find_overlaps(page) == []
        assert find_violations(page) == []
        assert page.title() == f"flowers: {EVIL}"
        asked = [url for url in complaints.requests if not url.startswith("data:")]
        assert asked == [path.as_uri()]
        assert page.locator("h2").first.inner_text() == f"{EVIL} 9"


def test_keys_reach_every_image_of_a_contact_sheet(browser, path):
    with open_file(browser, path) as (page, _):
        assert tab_through(page) == []
        assert page.locator("ul.images a").count() == N_IMAGES
        page.get_by_role("link", name="unsure 15").click()
        assert page.url.endswith("#g1")
