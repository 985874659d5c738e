"""The service's pages in Chromium, at a phone's width and in the dark."""

import json

import pytest
from browser import find_overlaps, find_violations, open_chromium, tab_through
from made_runs import make_run
from test_connections import listening
from test_service_over_http import photos

UNSURE = [
    {
        "path": "odd.png",
        "answer": None,
        "no_answer": "unsure",
        "classes": [{"name": "blue", "probability": 0.5}],
    }
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("seen"), "run", ["blue", "green", "<b>red"], 12)


@pytest.fixture(scope="module")
def url(run):
    with listening(run, head_seconds=10.0, silent_seconds=10.0) as service:
        host, port = service.address
        yield f"http://{host}:{port}"


@pytest.fixture(scope="module")
def browser():
    with open_chromium() as found:
        yield found


@pytest.fixture
def page(browser):
    context = browser.new_context(
        viewport={"width": 390, "height": 800},
        color_scheme="dark",
        has_touch=True,
        bypass_csp=True,  # for axe; the service's own headers have a test of their own
    )
    page = context.new_page()
    page.complaints = []
    page.on("pageerror", lambda error: page.complaints.append(str(error)))
    yield page
    context.close()


@pytest.mark.browser
def test_a_chosen_image_gets_its_classes_with_bars_and_a_wrong_file_its_reason(page, url, run):
    page.goto(url)
    page.get_by_role("heading", name="run", exact=True).wait_for()
    assert "3 classes apart: <b>red, blue, green" in page.locator("#classes").inner_text()
    assert page.get_by_role("button", name="Take a photo").is_visible()
    broken = {"name": "a.txt", "mimeType": "text/plain", "buffer": b"no image"}
    page.set_input_files("#files", [photos(run)[0]])
    page.locator(".bars li").nth(2).wait_for()
    page.set_input_files("#camera", [broken])
    page.get_by_text("not an image").wait_for()
    shares = page.locator(".bars li span:last-of-type").all_inner_texts()
    assert sum(float(share.rstrip("%")) for share in shares) == pytest.approx(100, abs=0.2)
    assert find_overlaps(page) == []
    assert find_violations(page) == []
    assert tab_through(page) == []
    assert page.complaints == []


@pytest.mark.browser
def test_where_the_promise_covers_no_answer_it_says_unsure(page, url, run):
    page.route("**/predict?top=5", lambda route: route.fulfill(body=json.dumps(UNSURE)))
    page.goto(url)
    page.set_input_files("#files", [photos(run)[0]])
    page.get_by_role("heading", name="unsure").wait_for()
    assert page.get_by_text("The run's promise covers no answer.").is_visible()


@pytest.mark.browser
def test_an_image_can_be_dropped(page, url):
    page.goto(url)
    page.evaluate("""() => {
        const data = new DataTransfer();
        data.items.add(new File(["no image"], "dropped.png"));
        document.body.dispatchEvent(new DragEvent("drop", { bubbles: true, dataTransfer: data }));
    }""")
    page.get_by_text("dropped.png").wait_for()
    page.get_by_text("not an image").wait_for()


@pytest.mark.browser
def test_the_page_for_programs_has_all_addresses_and_examples(page, url):
    page.goto(f"{url}/docs")
    for words in ("POST /predict", "GET /health", "GET /metrics", f"{url}/predict"):
        page.get_by_text(words).first.wait_for()
    assert find_overlaps(page) == []
    assert find_violations(page) == []
    assert page.complaints == []
