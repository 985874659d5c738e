"""The page with a model in it: opened from a disk, offline, and it says what Python says."""

import base64
import io
import re
import shutil

import numpy as np
import onnx
import pytest
from browser import find_overlaps, find_violations, open_chromium, open_file, tab_through
from conftest import COLOURS, call, save_image
from made_runs import make_run
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tiny_export import load_check

import frostline
from pipeline.classifier.export.formats.html.html_file import draw_page
from pipeline.images.decoding.decode import decode_image, render_image
from pipeline.runs.run_folder import open_run

pytestmark = pytest.mark.browser

CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
READY = "body[data-state=ready]"
DROP = """([name, type, text]) => {
  const bytes = Uint8Array.from(atob(text), one => one.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  const stage = document.getElementById("stage");
  for (const kind of ["dragover", "drop"]) {
    stage.dispatchEvent(new DragEvent(kind, { bubbles: true, dataTransfer: transfer }));
  }
}"""
PASTE = """([name, type, text]) => {
  const bytes = Uint8Array.from(atob(text), one => one.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type }));
  dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer }));
}"""


@pytest.fixture(scope="module")
def promising(tmp_path_factory):
    """A run of lite0 at 32 pixels with a promise and both of its thresholds."""
    folder = tmp_path_factory.mktemp("promising")
    for name, colour in COLOURS.items():
        for i in range(24):
            pixels = np.random.default_rng(i).normal(colour, 12, (24, 24, 3)).clip(0, 255)
            (folder / "photos" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / name / f"{i}.png")
    extracted = call(
        *("extract", folder / "photos", "--backbone", "efficientnet-lite0", "--image-size", 32),
        *("--output", folder / "features.h5"),
    )
    assert extracted.exit_code == 0, extracted.stderr
    made = call(
        *("fit-head", folder / "features.h5", "--promise", 0.8, "--unlike", 0.1),
        *("--output", folder / "run"),
    )
    assert made.exit_code == 0, made.stderr
    return folder / "run"


@pytest.fixture(scope="module")
def exported(promising):
    """The folder of its export."""
    made = call("export", promising, "--format", "html")
    assert made.exit_code == 0, made.stderr
    return promising / "export"


@pytest.fixture(scope="module")
def browser():
    with open_chromium(*CAMERA) as opened:
        yield opened


@pytest.fixture(scope="module")
def page_and_complaints(browser, exported):
    """One page for the tests that leave it as it was."""
    with open_file(browser, exported / "model.html", offline=True) as (page, complaints):
        page.locator(READY).wait_for()
        yield page, complaints


@pytest.fixture
def page(page_and_complaints):
    page, complaints = page_and_complaints
    page.evaluate("shown++; stopLive(); complain(''); find('answer').hidden = true")
    complaints.errors.clear()
    yield page
    assert complaints.errors == []


def pack(path, name=None, kind="image/png"):
    return [name or path.name, kind, base64.b64encode(path.read_bytes()).decode()]


def read_bars(page) -> list[tuple[str, str]]:
    rows = page.locator("#bars li").all()
    return [tuple(row.locator(part).inner_text() for part in (".name", ".share")) for row in rows]


def test_offline_from_a_disk_the_page_gives_python_s_probabilities(page_and_complaints, exported):
    page, complaints = page_and_complaints
    reference = np.load(exported / "reference" / "reference.npz")
    received = [
        page.evaluate(
            "async all => (await frostline.classifyPixels(new Uint8Array(all))).probabilities",
            pixels.ravel().tolist(),
        )
        for pixels in reference["pixels"][:6]
    ]
    assert np.ptp(reference["probabilities"][:6], axis=0).max() > 0.1
    assert np.allclose(received, reference["probabilities"][:6], atol=1e-3)
    assert complaints.requests == [(exported / "model.html").as_uri()]
    words = page.locator("#checked").text_content()
    assert "says what it said where it was made" in words


def test_what_is_in_the_page_is_what_its_check_takes_out_and_runs(exported, tmp_path, capsys):
    copied = shutil.copytree(exported, tmp_path / "export")
    assert load_check(copied).main([]) == 0
    assert "html: model.html in onnxruntime" in capsys.readouterr().out
    page = (copied / "model.html").read_text("utf-8")
    assert page.count('"class_names":["blue","green","red"]') == 1
    changed = page.replace(
        '"class_names":["blue","green","red"]', '"class_names":["red","green","blue"]'
    )
    (copied / "model.html").write_text(changed, "utf-8")
    assert load_check(copied).main([]) == 1
    assert "red, green, blue. Expected: blue, green, red." in capsys.readouterr().out


def test_the_page_makes_the_pixels_that_the_decoder_makes(page):
    random = np.random.default_rng(0)
    background = (10, 200, 90)
    for resize in ("stretch", "crop", "pad"):
        for _ in range(8):
            width, height = (int(2 ** random.uniform(0, 9.6)) for _ in range(2))
            size = int(random.integers(5, 70))
            pixels = random.integers(0, 256, (height, width, 3), np.uint8)
            rgba = np.dstack([pixels, np.full((height, width), 255, np.uint8)])
            received = page.evaluate(
                """([text, width, height, input]) => Array.from(frostline.fitPixels(
                     fromBase64(text), width, height, input))""",
                [
                    base64.b64encode(rgba.tobytes()).decode(),
                    *(width, height),
                    {"size": size, "resize": resize, "background": background},
                ],
            )
            expected = render_image(Image.fromarray(pixels), size, resize, background)
            # Pillow 13 filters down before across in some cases, which rounds otherwise.
            difference = np.abs(np.array(received) - expected.ravel().astype(int))
            assert difference.max() <= 1, (resize, width, height, size)


def test_files_give_the_probabilities_that_the_decoder_s_pixels_give(page, tmp_path, promising):
    """Turned by EXIF, transparent, gray, of a palette, far larger than wanted."""
    noisy = Image.open(save_image(tmp_path / "a.png", 3, (60, 90, 200), 40)).resize((900, 500), 0)
    turned = Image.Exif()
    turned[0x0112] = 6
    noisy.save(tmp_path / "large.jpg", quality=95)
    noisy.crop((0, 0, 90, 40)).save(tmp_path / "turned.jpg", quality=95, exif=turned)
    noisy.crop((0, 0, 40, 90)).convert("L").save(tmp_path / "gray.png")
    noisy.crop((0, 0, 40, 90)).convert("P").save(tmp_path / "palette.gif")
    clear = noisy.crop((0, 0, 50, 50)).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((50, 50)))
    clear.save(tmp_path / "clear.png")
    recipe = open_run(promising).recipe
    for path in sorted(tmp_path.glob("*.*")):
        pixels = page.evaluate(
            """async text => {
                 const picture = await openPicture(new File([fromBase64(text)], "a"));
                 return Array.from(fitPixels(picture, facts.input));
               }""",
            base64.b64encode(path.read_bytes()).decode(),
        )
        expected = decode_image(path.read_bytes(), recipe.image_size, recipe.resize)
        difference = np.abs(np.array(pixels) - expected.ravel().astype(int))
        assert difference.mean() < 1, path
        assert difference.max() <= (16 if path.name == "large.jpg" else 4), path


@pytest.mark.parametrize("way", [DROP, PASTE])
def test_a_picture_that_is_dropped_or_pasted_is_answered(page, tmp_path, promising, way):
    path = save_image(tmp_path / "photo.png", 77, (50, 180, 70))
    (expected,) = frostline.load(promising).predict([path])
    page.evaluate(way, pack(path))
    page.locator("#answer").wait_for()
    best = np.argsort(-expected.probabilities)
    assert [name for name, _ in read_bars(page)] == [
        open_run(promising).class_names[place] for place in best
    ]
    assert page.locator("#picture").get_attribute("aria-label") == "Your picture, photo.png"
    headline = page.locator("#headline").inner_text()
    assert headline == (expected.answer or expected.no_answer.capitalize())


def test_the_page_is_unsure_and_says_what_is_unlike_anything_seen(page, promising, tmp_path):
    path = save_image(tmp_path / "photo.png", 77, (50, 180, 70))
    promise = open_run(promising).manifest.promise
    made = {
        "least_confidence": promise.least_confidence,
        "greatest_distance": promise.greatest_distance,
    }
    assert made["greatest_distance"] > 0
    assert page.evaluate("facts.promise") == made
    for changed, headline in (
        ({"least_confidence": 1.1, "greatest_distance": 2}, "Unsure"),
        ({"least_confidence": 0, "greatest_distance": -1}, "Unlike anything seen"),
        (None, "green"),
    ):
        page.evaluate(
            "promise => { facts.promise = promise; find('answer').hidden = true; }", changed
        )
        page.set_input_files("#file", path)
        page.locator("#answer").wait_for()
        assert page.locator("#headline").inner_text() == headline
        assert headline in page.locator("#announcer").inner_text()
    page.evaluate("promise => { facts.promise = promise; }", made)


def test_the_camera_is_answered_on_and_on_until_a_picture_is_held(page):
    page.get_by_role("button", name="Use the camera").click()
    page.locator("#answer").wait_for()
    assert page.evaluate("document.activeElement.id") == "shutter"
    time = page.locator("#time").inner_text()
    page.locator("#time", has_not_text=time).wait_for()
    page.keyboard.press("Enter")
    page.locator("#picture").wait_for()
    assert page.evaluate("camera.stream === null")
    assert page.locator("#video").is_hidden()
    # Chromium's camera shows green.
    pixel = "find('picture').getContext('2d').getImageData(200, 100, 1, 1).data"
    red, green, blue, _ = page.evaluate(f"Array.from({pixel})")
    assert green > max(red, blue) + 50


def test_a_refused_camera_and_files_that_are_no_pictures_are_said_in_words(page, tmp_path):
    page.evaluate(
        """() => {
             navigator.mediaDevices.getUserMedia = async () => {
               throw new DOMException("no", "NotAllowedError");
             };
           }"""
    )
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("alert").wait_for()
    assert "The camera is not allowed for this page." in page.get_by_role("alert").inner_text()
    page.evaluate("delete navigator.mediaDevices.getUserMedia")
    heic = b"\0\0\0\x18ftypheic" + bytes(40)
    for name, data, words in (
        ("a.txt", b"words", "no picture that this browser can open"),
        ("a.heic", heic, "cannot open HEIC"),
        ("a.png", b"", "is empty"),
    ):
        (tmp_path / name).write_bytes(data)
        page.evaluate("complain('')")
        page.set_input_files("#file", tmp_path / name)
        page.get_by_role("alert").wait_for()
        said = page.get_by_role("alert").inner_text()
        assert said.startswith(f"{name}: ")
        assert words in said
    assert page.locator("#answer").is_hidden()


def test_wide_and_narrow_nothing_overlaps_and_all_is_accessible(browser, exported, tmp_path):
    path = save_image(tmp_path / "photo.png", 77, (50, 180, 70))
    for width, scheme in ((1280, "light"), (390, "dark")):
        with open_file(
            browser, exported / "model.html", width, color_scheme=scheme, has_touch=width < 500
        ) as (page, complaints):
            page.locator(READY).wait_for()
            assert tab_through(page) == []
            page.locator("summary").click()
            assert find_overlaps(page) == []
            page.set_input_files("#file", path)
            page.locator("#answer").wait_for()
            assert find_overlaps(page) == []
            assert find_violations(page) == []
            small = page.locator("#ways button:visible").evaluate_all(
                "all => all.map(one => one.getBoundingClientRect().height).filter(one => one < 44)"
            )
            assert (small, complaints.errors) == ([], [])


def mean_model(n_classes: int) -> bytes:
    """A network of four nodes: the mean of a picture's colours, times a number for each class."""
    scales = np.linspace(-0.02, 0.02, n_classes, dtype=np.float32)[np.newaxis]
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("MatMul", ["column", "scales"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", None, None, 3])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", n_classes])],
        [
            numpy_helper.from_array(np.array([1, 2, 3]), "axes"),
            numpy_helper.from_array(np.array([1]), "one"),
            numpy_helper.from_array(scales, "scales"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def test_evil_and_many_names_are_text_and_nothing_else(browser, tmp_path):
    evil = "<script>document.title='taken'<!-- &amp; \" '"
    names = [evil, "שלום", *(f"class number {number:02d}" for number in range(28))]
    make_run(tmp_path, "run", names, 4, spread=0.1)
    run = open_run(tmp_path / "run")
    path = tmp_path / "model.html"
    path.write_text(draw_page(run, mean_model(len(names)), "float32"), "utf-8")
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), (0, 0, 0)).save(buffer, "PNG")
    (tmp_path / "black.png").write_bytes(buffer.getvalue())
    with open_file(browser, path, 390) as (page, complaints):
        page.locator(READY).wait_for()
        assert "What is this?" in page.title()
        choices = page.locator(".choices").inner_text()
        assert choices.startswith(f"One of 30: {run.class_names[0]}, ")
        assert choices.endswith(" and 22 more.")
        page.set_input_files("#file", tmp_path / "black.png")
        page.locator("#answer").wait_for()
        assert read_bars(page) == [(name, "3%") for name in run.class_names[:5]]
        assert find_overlaps(page) == []
        assert complaints.errors == []


def test_a_device_that_computes_something_else_is_found_out(browser, tmp_path):
    make_run(tmp_path, "run", ("a", "b"), 4, spread=0.1)
    page_text = draw_page(open_run(tmp_path / "run"), mean_model(2), "float32")
    changed, n = re.subn(r'"probabilities":\[[^\]]*\]', '"probabilities":[0.1,0.9]', page_text)
    assert n == 2
    (tmp_path / "model.html").write_text(changed, "utf-8")
    with open_file(browser, tmp_path / "model.html") as (page, _):
        page.locator(READY).wait_for()
        said = page.get_by_role("alert").inner_text()
        assert said.startswith("On this device the model says something else than where it was")
