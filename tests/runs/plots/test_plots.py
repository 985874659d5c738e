"""The pictures of a run: the files that come out, and that nothing makes it stumble."""

import sys
import warnings
from subprocess import run
from threading import Thread
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

from pipeline.runs.plots import figures
from pipeline.runs.plots.confusion_matrix import plot_confusion_matrix
from pipeline.runs.plots.finetuning_plots import plot_augmented_images, plot_learning_rate_sweep
from pipeline.runs.plots.learning_curves import plot_finetuning, plot_learning_curve

BLUE, ORANGE = (0, 114, 178), (213, 94, 0)


def record(x, value, train, val, name="epoch"):
    return {
        name: x,
        "train_loss": train,
        "val_loss": val,
        "train_accuracy": value,
        "val_accuracy": None if val is None else value - 0.1,
    }


EPOCHS = [record(i, 1 - 0.8 * 0.5**i, 1.6 * 0.6**i, 1.6 * 0.7**i) for i in range(12)]
PATH = [
    record(10.0**i, 0.9 + i / 100, 0.4 - i / 30, 0.5 + abs(i + 2) / 20, "C") for i in range(-5, 2)
]


def pixels(path):
    """RGB uint8 `(height, width, 3)` of a PNG."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert round(image.info["dpi"][0]) == 150
        return np.asarray(image.convert("RGB"))


def drawing(path):
    """The root of an SVG, and its text."""
    text = path.read_text()
    return ElementTree.fromstring(text), text


def count(image, color):
    return int(is_color(image, color).sum())


def is_color(image, color):
    return (np.abs(image.astype(int) - color) <= 2).all(axis=-1)


def is_blank(strip):
    return bool((strip == 255).all())


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_learning_curve_over_epochs_shows_both_lines_in_two_panels(tmp_path):
    plot_learning_curve(tmp_path / "curve", EPOCHS, best=9, title="flowers")
    image = pixels(tmp_path / "curve.png")
    assert image.shape == (600, 1440, 3)
    for half in (image[:, :720], image[:, 720:]):
        assert count(half, BLUE) > 500
        assert count(half, ORANGE) > 500


def test_learning_curve_over_c_has_a_logarithmic_axis(tmp_path):
    plot_learning_curve(tmp_path / "a", PATH, x="C", best=1e-2)
    columns = np.flatnonzero((pixels(tmp_path / "a.png")[:, :600] == ORANGE).all(-1).any(0))
    # Seven decades in equal steps leave no gap; on a linear axis all but two would be in one spot.
    assert columns.max() - columns.min() > 400
    assert np.diff(columns).max() < 5


def test_the_chosen_epoch_changes_the_picture(tmp_path):
    plot_learning_curve(tmp_path / "a", EPOCHS, best=3)
    plot_learning_curve(tmp_path / "b", EPOCHS, best=9)
    plot_learning_curve(tmp_path / "c", EPOCHS)
    a, b, c = (pixels(tmp_path / f"{name}.png") for name in "abc")
    assert not np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_objects_draw_like_dicts(tmp_path):
    plot_learning_curve(tmp_path / "a", EPOCHS, best=3)
    objects = [type("Record", (), values) for values in EPOCHS]
    plot_learning_curve(tmp_path / "b", objects, best=3)
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))


def test_a_single_point_without_validation_is_drawn(tmp_path):
    plot_learning_curve(tmp_path / "a", [record(0.1, 0.9, 0.2, None, "C")], x="C", best=0.1)
    image = pixels(tmp_path / "a.png")
    assert count(image[120:500, 100:580], ORANGE) > 20


def test_losses_that_are_not_finite_do_not_break_the_plot(tmp_path):
    diverged = [*EPOCHS[:3], record(3, 0.2, np.inf, np.nan), record(4, 0.2, np.nan, np.nan)]
    plot_learning_curve(tmp_path / "a", diverged, best=2)
    plot_learning_curve(tmp_path / "b", [record(0, np.nan, np.nan, np.nan)], best=0)
    plot_finetuning(tmp_path / "c", EPOCHS, diverged, head_best=9, finetune_best=2)
    for name in ("a.png", "c.png"):  # the finite losses are drawn
        assert count(pixels(tmp_path / name), ORANGE) > 20
    assert count(pixels(tmp_path / "b.png"), ORANGE) < count(pixels(tmp_path / "a.png"), ORANGE)


@pytest.mark.parametrize(("history", "x", "best"), [(EPOCHS, "epoch", 9), (PATH, "C", 1e-2)])
def test_finetuning_shows_both_stages_with_both_lines(tmp_path, history, x, best):
    finetuned = [record(i, 0.9 + i / 100, 0.1, 0.3 - i / 50) for i in range(7)]
    plot_finetuning(
        tmp_path / "a",
        history,
        finetuned,
        head_x=x,
        head_best=best,
        finetune_best=6,
        unfrozen_from="block6a",
        title="flowers",
    )
    image = pixels(tmp_path / "a.png")
    boundary = round(1440 * (0.075 + 0.83 / 2.25))
    for stage in (image[:, 110:boundary], image[:, boundary:1300]):
        for row in (stage[:490], stage[560:]):
            assert count(row, BLUE) > 100
            assert count(row, ORANGE) > 100


def test_confusion_matrix_shades_hits_blue_and_mistakes_orange(tmp_path):
    plot_confusion_matrix(tmp_path / "a", [[0, 9], [0, 7]], ["cats", "dogs"])
    image = pixels(tmp_path / "a.png")
    height, width, _ = image.shape
    all_cats_are_called_dogs, all_dogs_are_found = count(image, ORANGE), count(image, BLUE)
    assert all_cats_are_called_dogs > 10_000
    assert all_dogs_are_found > 10_000
    assert all_cats_are_called_dogs + all_dogs_are_found > 0.2 * height * width
    rows_of = [np.flatnonzero(is_color(image, color).any(1)) for color in (ORANGE, BLUE)]
    assert rows_of[0].max() < rows_of[1].min()


@pytest.mark.parametrize(
    ("n_classes", "length"), [(2, 1), (2, 60), (5, 60), (17, 1), (17, 60), (40, 60)]
)
def test_nothing_runs_over_the_edge_of_a_confusion_matrix(tmp_path, n_classes, length):
    matrix = 12345 * np.eye(n_classes, dtype=int)
    matrix[[0, -1], [-1, 0]] = 12345
    names = [f"{i}".ljust(length, "m") for i in range(n_classes)]
    plot_confusion_matrix(tmp_path / "a", matrix, names, "a title that is quite long, really")
    image = pixels(tmp_path / "a.png")
    for edge in (image[:6], image[-6:], image[:, :6], image[:, -6:]):
        assert is_blank(edge)


def test_a_thousand_classes_still_make_a_picture_of_reasonable_size(tmp_path):
    matrix = np.eye(1000, dtype=int)
    plot_confusion_matrix(tmp_path / "a", matrix, [f"class {i}" for i in range(1000)])
    assert max(pixels(tmp_path / "a.png").shape) < 2500


NAMES = {
    "no UTF-8": "G\udce4nse",
    "formulas": "$x_1$ $ \\frac{",
    "no such letters": "猫 שלום \U0001f600 \U000f0000",
    "controls": "a\nb\r\x1b[31m\x9b\x7f",
    "other direction": "a\u202eb\u2066c",
    "long": "x" * 200,
    "no width": "\u0301\ufe0f",
}


@pytest.mark.parametrize("title", ["".join(NAMES.values()), "\u0301\ufe0f"])
def test_any_name_is_drawn_in_every_picture_and_without_warnings(tmp_path, title):
    names = list(NAMES.values())
    plot_confusion_matrix(tmp_path / "a", np.eye(len(names), dtype=int), names, title)
    plot_learning_curve(tmp_path / "b", EPOCHS, best=9, title=title)
    plot_finetuning(tmp_path / "c", PATH, EPOCHS, head_x="C", unfrozen_from=title, title=title)
    plot_learning_rate_sweep(tmp_path / "d", [(1e-4, 2.0), (1e-3, 1.0)], 1e-3, title=title)
    plot_augmented_images(tmp_path / "e", np.zeros((4, 8, 8, 3)), title=title)
    for picture in "abcde":
        with Image.open(tmp_path / f"{picture}.png") as image:
            assert max(image.size) < 2000
    for picture in "abcd":
        root, text = drawing(tmp_path / f"{picture}.svg")
        assert root.find("{*}title").text == figures.shorten(title)
        assert "<text" not in text  # letters are outlines, so no name is more than a picture
    assert not (tmp_path / "e.svg").exists()  # of photos there is nothing to draw with lines


def test_a_name_that_is_no_utf8_is_drawn_as_a_terminal_shows_it(tmp_path):
    plot_confusion_matrix(tmp_path / "a", np.eye(2, dtype=int), ["G\udce4nse", "b"])
    plot_confusion_matrix(tmp_path / "b", np.eye(2, dtype=int), ["G\\udce4nse", "b"])
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))


def test_a_letter_that_the_usual_font_lacks_is_drawn_with_another_that_is_installed(
    tmp_path, monkeypatch, caplog
):
    """STIX comes with matplotlib and has an enclosing circle, U+20DD, which DejaVu has not."""
    drawn = []
    for fonts in ((), ("No Such Font", "STIXGeneral")):
        monkeypatch.setattr(figures, "MORE_FONTS", fonts)
        figures.list_fonts.cache_clear()
        plot_confusion_matrix(tmp_path / "a", np.eye(2, dtype=int), ["\u20dd" * 3, "b"])
        drawn.append(pixels(tmp_path / "a.png"))
    monkeypatch.undo()
    figures.list_fonts.cache_clear()
    assert drawn[0].shape != drawn[1].shape or not np.array_equal(*drawn)
    assert "not found" not in caplog.text


def test_no_name_becomes_part_of_the_drawing_s_code(tmp_path):
    names = ["<script>alert(1)</script>", '"><image href="x"/>', "--><b>", "]]>&amp;"]
    plot_confusion_matrix(tmp_path / "a", np.eye(4, dtype=int), names, "".join(names))
    plot_finetuning(tmp_path / "b", EPOCHS, EPOCHS, unfrozen_from=names[0], title=names[2])
    for picture in "ab":
        root, _ = drawing(tmp_path / f"{picture}.svg")
        used = {element.tag.rsplit("}", 1)[-1] for element in root.iter()}
        assert not used & {"script", "b", "a", "foreignObject"}
        links = [v for e in root.iter() for k, v in e.attrib.items() if k.endswith("href")]
        assert all(link.startswith(("#", "data:image/png;base64,")) for link in links)


def test_what_is_drawn_twice_is_the_same_file_and_settings_are_as_before(tmp_path):
    settings = dict(matplotlib.rcParams)
    for name in "ab":
        plot_finetuning(tmp_path / name, PATH, EPOCHS, head_x="C", title="flowers")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert dict(matplotlib.rcParams) == settings


def test_epoch_0_of_an_augmented_training_is_drawn_hollow_and_what_leads_on_dotted(tmp_path):
    """Its training score is of images as they are, so the step to epoch 1 is no drop."""
    finetuned = [record(0, 0.99, 0.02, 0.3), *(record(i, 0.9, 0.25, 0.3) for i in range(1, 7))]
    for name, is_augmented in (("plain", False), ("augmented", True)):
        plot_finetuning(tmp_path / name, PATH, finetuned, head_x="C", is_augmented=is_augmented)
    boundary = round(1440 * (0.075 + 0.83 / 2.25))
    plain, augmented = (
        count(pixels(tmp_path / f"{name}.png")[:490, boundary:], ORANGE)
        for name in ("plain", "augmented")
    )
    assert 0.5 * plain < augmented < 0.95 * plain


def test_a_class_without_images_is_drawn_empty(tmp_path):
    plot_confusion_matrix(tmp_path / "a", np.zeros((2, 2), int), ["cats", "dogs"])
    image = pixels(tmp_path / "a.png")
    assert count(image, BLUE) == count(image, ORANGE) == 0


def test_plots_drawn_in_threads_equal_those_drawn_alone(tmp_path):
    plot_learning_curve(tmp_path / "alone", EPOCHS, best=9)
    threads = [
        Thread(target=plot_learning_curve, args=(tmp_path / f"{i}", EPOCHS), kwargs={"best": 9})
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alone = pixels(tmp_path / "alone.png")
    assert all(np.array_equal(pixels(tmp_path / f"{i}.png"), alone) for i in range(4))


def test_drawing_loads_neither_pyplot_nor_tensorflow(tmp_path):
    code = (
        "import sys, pathlib, pipeline.runs.plots.confusion_matrix as p;"
        f"p.plot_confusion_matrix(pathlib.Path({str(tmp_path / 'a')!r}), [[1, 0], [0, 1]], 'ab');"
        "print({'matplotlib.pyplot', 'tensorflow', 'keras'} & set(sys.modules))"
    )
    result = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "set()"
