"""Reports and audits in a real browser: used by hand and by keys, looked at, in light and dark."""

import csv
import io

import pytest
from browser import find_overlaps, find_violations, open_chromium, open_file, tab_through
from made_runs import make_run
from page_contents import FLOWERS, make_audit, make_report

import frostline
from pipeline.report.audit_page import draw_audit_page
from pipeline.report.report_page import draw_report_page
from pipeline.system.printable import printable

pytestmark = pytest.mark.browser

EVIL = "<script>document.title='taken'</script> \" ' \n \u202egnp.exe \udcff &amp; </script>"
REPORTS = {
    "five": make_report(wrong=0.4),
    "forty": make_report([f"class number {number}" for number in range(40)], n_per_class=8),
    "two": make_report(("cats", "dogs")),
    "three runs": make_report(n_runs=3),
    "evil": make_report(
        (printable(EVIL), "b"), title=printable(EVIL), path_of=lambda name, i: f"{name}/{i}"
    ),
}


@pytest.fixture(scope="module")
def browser():
    with open_chromium() as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A folder with a page of each of the reports, and one of an audit."""
    folder = tmp_path_factory.mktemp("pages")
    for name, contents in REPORTS.items():
        (folder / f"{name}.html").write_text(draw_report_page(contents), encoding="utf-8")
    (folder / "audit.html").write_text(draw_audit_page(make_audit()), encoding="utf-8")
    return folder


@pytest.fixture
def five(browser, pages):
    with open_file(browser, pages / "five.html") as (page, complaints):
        yield page
        assert complaints.errors == []


def place_of(page, image: int) -> tuple[float, float]:
    """Where on the screen a point of the map lies that has none near it."""
    box = page.locator("canvas.over").bounding_box()
    feature_map = REPORTS["five"].feature_map
    x = 14 + feature_map.x[image] * (box["width"] - 28)
    y = 14 + (1 - feature_map.y[image]) * (box["height"] - 28)
    return box["x"] + x, box["y"] + y


def find_lonely_point() -> int:
    """The point of the map that is furthest from its nearest."""
    points = list(zip(REPORTS["five"].feature_map.x, REPORTS["five"].feature_map.y, strict=True))

    def distance_to_others(i: int) -> float:
        x, y = points[i]
        return min((x - u) ** 2 + (y - v) ** 2 for j, (u, v) in enumerate(points) if j != i)

    return max(range(len(points)), key=distance_to_others)


@pytest.mark.parametrize("name", [*REPORTS, "audit"])
def test_a_page_asks_for_nothing_and_complains_of_nothing_wide_and_narrow(browser, pages, name):
    path = pages / f"{name}.html"
    for width in (1280, 390):
        with open_file(browser, path, width) as (page, complaints):
            page.wait_for_function("document.querySelector('canvas[data-drawn]')")
            assert find_overlaps(page) == []
            asked = [url for url in complaints.requests if not url.startswith("data:")]
            assert (complaints.errors, asked) == ([], [path.as_uri()])


@pytest.mark.parametrize("name", ["five", "forty", "two", "three runs", "audit"])
def test_a_page_is_accessible_in_light_and_dark(browser, pages, name):
    with open_file(browser, pages / f"{name}.html") as (page, _):
        assert find_violations(page) == []
        page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        assert find_violations(page, ["color-contrast"]) == []


@pytest.mark.parametrize("name", ["five", "forty", "audit"])
def test_keys_reach_all_of_a_page_and_show_where_they_are(browser, pages, name):
    with open_file(browser, pages / f"{name}.html") as (page, _):
        assert tab_through(page) == []


def test_the_report_of_a_real_run_opens_wide_and_narrow(browser, tmp_path):
    make_run(tmp_path, "run", ("<b>blue", "שלום", "green 'n\" red"), 20, spread=2.0)
    path = frostline.report(tmp_path / "run").path
    for width, scheme in ((1280, "light"), (390, "dark")):
        with open_file(browser, path, width, color_scheme=scheme) as (page, complaints):
            page.wait_for_function("document.querySelector('canvas[data-drawn]')")
            assert find_overlaps(page) == []
            assert find_violations(page, ["color-contrast"]) == []
            assert complaints.errors == []


def test_a_cell_of_the_matrix_opens_its_images(five):
    run = REPORTS["five"].runs[0]
    label, called = next(
        (i, j) for i in range(5) for j in range(5) if i != j and run.matrix[i][j] > 0
    )
    five.locator(f'[data-cell="{label} {called}"]').click()
    wanted = {
        image.path
        for image in REPORTS["five"].images
        if image.split == "test" and image.label == label and image.called[0] == called
    }
    dialog = five.locator("dialog[open]")
    shown = dialog.locator(".thumb").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert len(wanted) == run.matrix[label][called]
    assert {words.split(": ")[1] for words in shown} == wanted
    assert find_violations(five) == []
    five.keyboard.press("Escape")
    assert five.evaluate("document.activeElement.dataset.cell") == f"{label} {called}"


def test_arrows_and_enter_open_a_cell_of_a_matrix_of_forty_classes(browser, pages):
    with open_file(browser, pages / "forty.html") as (page, complaints):
        page.locator(".matrix canvas").focus()
        for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft"):
            page.keyboard.press(key)
        n_right = REPORTS["forty"].runs[0].matrix[1][1]
        words = f"class number 1, recognised: {n_right}"
        assert page.locator(".matrix .reading").inner_text() == words
        page.keyboard.press("Enter")
        assert page.locator("dialog[open] h2").inner_text() == words
        assert page.locator("dialog[open] .thumb").count() == n_right
        assert complaints.errors == []


def test_pointing_at_a_point_of_the_map_shows_its_picture(five):
    image = find_lonely_point()
    five.locator("canvas.over").scroll_into_view_if_needed()
    five.mouse.move(*place_of(five, image))
    tip = five.locator("#tip")
    assert REPORTS["five"].images[image].path in tip.inner_text()
    five.wait_for_function("document.querySelector('#tip canvas[data-drawn]')")
    # The very pixels: a tile's colour is its class's.
    pixel = tip.locator("canvas").evaluate(
        "one => [...one.getContext('2d').getImageData(16, 20, 1, 1).data]"
    )
    label = REPORTS["five"].images[image].label
    colour = (40 * label % 256, 255 - 25 * label % 256, (90 + 70 * label) % 256)
    assert pixel[:3] == pytest.approx(colour, abs=8)


def test_the_map_is_read_by_keys_alone(five):
    five.locator("canvas.over").focus()
    five.keyboard.press("m")
    words = five.locator("#tip").inner_text()
    assert "taken for" in words
    five.keyboard.press("ArrowLeft")
    assert five.locator("#tip").inner_text() != words
    five.keyboard.press(" ")
    assert five.locator(".chosen h3").inner_text() == "1 image chosen"
    five.keyboard.press("Enter")
    assert five.locator("dialog[open] .portrait").is_visible()


def test_the_lasso_lists_and_copies_the_paths_of_what_it_went_round_and_is_shown(browser, pages):
    allowed = ["clipboard-read", "clipboard-write"]
    with open_file(browser, pages / "five.html", permissions=allowed) as (page, _):
        page.locator(".legend-of-map button", has_text="daisy").click()
        page.locator("button.lasso").click()
        page.locator("canvas.over").scroll_into_view_if_needed()
        box = page.locator("canvas.over").bounding_box()
        left, top = box["x"] + 2, box["y"] + 2
        right, bottom = box["x"] + box["width"] / 2, box["y"] + box["height"] - 2
        page.mouse.move(left, top)
        page.mouse.down()
        for corner in ((right, top), (right, bottom), (left, bottom)):
            page.mouse.move(*corner, steps=3)
        page.mouse.up()
        feature_map, images = REPORTS["five"].feature_map, REPORTS["five"].images
        wanted = [
            images[image].path
            for image, x in zip(feature_map.images, feature_map.x, strict=True)
            if round(x, 4) < 0.5 and images[image].label != FLOWERS.index("daisy")
        ]
        assert 10 < len(wanted) < 100
        assert page.locator(".chosen li").all_inner_texts() == wanted
        page.get_by_role("button", name="Copy the paths").click()
        page.get_by_role("button", name="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()").split("\n") == wanted


def test_mistakes_are_filtered_by_pairs_and_turned_by_pages(five):
    run, images = REPORTS["five"].runs[0], REPORTS["five"].images
    section = five.locator("#mistakes")
    shown = section.locator(".mistakes > li")
    surest = [images[mistake.image].path for mistake in run.mistakes]
    paths = "all => all.map(one => one.dataset.path)"
    assert shown.evaluate_all(paths) == surest[:12]
    five.locator("#mistakes .pager button", has_text="Next").click()
    assert shown.evaluate_all(paths) == surest[12:24]
    first = images[run.mistakes[0].image]
    section.locator("select").select_option(f"{first.label}>{first.called[0]}")
    pair = [
        images[one.image].path
        for one in run.mistakes
        if (images[one.image].label, images[one.image].called) == (first.label, first.called)
    ]
    assert shown.evaluate_all(paths) == pair


def test_the_class_table_sorts_by_any_column(five):
    recalls = [scores.recall for scores in REPORTS["five"].runs[0].classes]
    table = five.locator("#classes table")
    names = table.locator("tbody th")
    table.get_by_role("button", name="Recall").click()
    order = [FLOWERS[i] for i in sorted(range(5), key=lambda i: recalls[i])]
    assert names.all_inner_texts() == order
    table.get_by_role("button", name="Class").click()
    assert names.all_inner_texts() == sorted(FLOWERS)
    table.get_by_role("button", name="Class").click()
    assert names.all_inner_texts() == sorted(FLOWERS, reverse=True)
    assert five.locator("#classes th[aria-sort]").get_attribute("aria-sort") == "descending"


def test_runs_stand_side_by_side_and_one_at_a_time(browser, pages):
    report = REPORTS["three runs"]
    with open_file(browser, pages / "three runs.html") as (page, complaints):
        assert page.locator("#runs tbody tr").count() == 3
        assert page.locator("#overlaid .plot").first.locator(".legend li").all_inner_texts() == [
            f"{run.name}: {curve.name}" for run in report.runs for curve in run.plots[0].curves
        ]
        page.locator(".picker button").nth(1).click()
        assert (
            page.locator(".summary:visible .sentence").first.inner_text()
            == report.runs[1].summary[0]
        )
        assert report.runs[1].commands[1] in page.locator("#origin pre:visible").inner_text()
        comparison = report.comparisons[0]
        page.locator("#comparisons button").first.click()
        assert page.locator("dialog .thumb").count() == len(comparison.only_first)
        assert complaints.errors == []


def test_evil_names_are_text_and_nothing_else(browser, pages):
    with open_file(browser, pages / "evil.html") as (page, complaints):
        assert page.title() == printable(EVIL)
        assert printable(EVIL) in page.locator("h1").inner_text()
        assert printable(EVIL) in page.locator("#mistakes .path").first.inner_text()
        page.locator("#mistakes .thumb").first.click()
        assert printable(EVIL) in page.locator("dialog").inner_text()
        assert page.locator("script").count() == 2
        assert complaints.errors == []


def save_fix(page) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save fix.csv").click()
    assert download.value.suggested_filename == "fix.csv"
    return download.value.path().read_bytes()


def test_what_is_decided_about_an_audit_is_kept_and_saved(browser, pages):
    with open_file(browser, pages / "audit.html") as (page, complaints):
        cards = page.locator("#group-0 .cards > li")
        assert "daisy, looks like dandelion" in cards.nth(0).inner_text()
        cards.nth(0).get_by_role("button", name="Relabel to dandelion").click()
        cards.nth(1).locator("select").select_option(label="tulips")
        cards.nth(2).get_by_label("Leave out daisy/0004.jpg").check()
        assert page.locator(".tally").inner_text() == "2 relabelled, 1 left out."
        page.reload()
        assert page.locator(".tally").inner_text() == "2 relabelled, 1 left out."
        rows = list(csv.reader(io.StringIO(save_fix(page).decode())))
        table = make_audit().table
        changed = {0: "dandelion", 2: "tulips"}
        wanted = [
            [path, changed.get(row, label), "yes" if row == 4 else ""]
            for row, (path, label) in enumerate(table)
        ]
        assert rows == [["path", "label", "exclude"], *wanted]
        page.get_by_role("button", name="Undo all").click()
        assert page.locator(".tally").inner_text() == "Nothing decided yet."
        page.locator("#group-1").get_by_role("button", name="Take all 2 proposals").click()
        assert page.locator(".tally").inner_text() == "0 relabelled, 2 left out."
        # The same image in another group shows it, too.
        assert cards.nth(0).get_by_label("Leave out daisy/0000.jpg").is_checked()
        assert complaints.errors == []


def test_names_that_are_no_text_are_saved_byte_for_byte(browser, tmp_path):
    paths = [f"{i} {EVIL}, 日本 🐱/é.jpg" for i in range(4)]
    labels = [EVIL, "plain"]
    contents = make_audit(
        [printable(label) for label in labels],
        n_per_class=2,
        path_of=lambda name, i: printable(paths[i]),
        labels=labels,
        paths=paths,
    )
    (tmp_path / "audit.html").write_text(draw_audit_page(contents), encoding="utf-8")
    with open_file(browser, tmp_path / "audit.html") as (page, complaints):
        page.locator("#group-0 select").nth(1).select_option(index=1)
        saved = save_fix(page).decode("utf-8", "surrogateescape")
        rows = list(csv.reader(io.StringIO(saved, newline="")))
        wanted = [[path, "plain" if i == 3 else EVIL, ""] for i, path in enumerate(paths)]
        assert rows == [["path", "label", "exclude"], *wanted]
        assert complaints.errors == []
