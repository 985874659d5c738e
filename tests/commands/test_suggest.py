"""Which images to label next: the list, the page, and what becomes of the labels."""

import csv
import html.parser
import io
import json
import shutil

import numpy as np
import pytest
from conftest import call, make_photos
from PIL import Image

from benchmarks.stand_in import extract
from pipeline.heads.few_images.labelling_page import PageImage, make_labelling_page


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Photos of three colours in one folder, without labels; the feature file says the colour."""
    folder = tmp_path_factory.mktemp("suggest")
    make_photos(folder / "sorted", n_per_class=14)
    (folder / "photos").mkdir()
    for path in sorted((folder / "sorted").rglob("*.png")):
        shutil.copy(path, folder / "photos" / f"{path.parent.name}-{path.name}")
    shutil.copy(folder / "photos/red-000.png", folder / "photos/red-again.png")
    extract(folder / "photos", folder / "f.h5")
    return folder


class Page(html.parser.HTMLParser):
    """What a browser finds: the data, and every address."""

    def __init__(self, text):
        super().__init__()
        self.addresses, self._is_data, self.data = [], False, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.addresses += [given[name] for name in ("src", "href") if name in given]
        self._is_data = given.get("id") == "data"

    def handle_data(self, data):
        if self._is_data:
            self.data = json.loads(data)
            self._is_data = False


def test_suggested_images_are_of_every_kind_and_lie_in_list_and_page(made, tmp_path):
    outcome = call("suggest", made / "f.h5", 6, "--output", tmp_path / "out")
    assert outcome.exit_code == 0, outcome.stderr
    paths = outcome.stdout.splitlines()
    assert len(set(paths)) == 6
    assert {path.split("-")[0] for path in paths} == {"blue", "green", "red"}
    with (tmp_path / "out/suggested.csv").open(newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == paths
    page = Page((tmp_path / "out/label.html").read_text())
    assert [image["path"] for image in page.data["images"]] == paths
    assert page.addresses == []  # nothing is fetched: the images are in the page
    import base64

    for image in page.data["images"]:
        start = "data:image/jpeg;base64,"
        assert image["source"].startswith(start)
        shown = Image.open(io.BytesIO(base64.b64decode(image["source"][len(start) :])))
        colour = np.asarray(shown).reshape(-1, 3).mean(axis=0)
        assert ["red", "green", "blue"][int(colour.argmax())] == image["path"].split("-")[0]
    assert call("runs").stdout == ""  # it is no run


def test_labels_that_were_given_are_left_out_and_saved_along(made, tmp_path):
    first = call("suggest", made / "f.h5", 5, "--output", tmp_path / "a").stdout.splitlines()
    lines = [f"{path},{path.split('-')[0]}" for path in first]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    outcome = call(
        *("suggest", made / "f.h5", 5, "--labels", tmp_path / "labels.csv", "--json"),
        *("--output", tmp_path / "b"),
    )
    found = json.loads(outcome.stdout)
    assert found["by"] == "typical" and found["n_labelled"] == 5
    assert not set(found["paths"]) & set(first)
    page = Page((tmp_path / "b/label.html").read_text())
    assert dict(page.data["known"]) == {path: path.split("-")[0] for path in first}
    assert page.data["classes"] == sorted({path.split("-")[0] for path in first})


def test_labels_are_for_fit_head_and_later_it_asks_where_the_head_is_in_doubt(made, tmp_path):
    paths = [f"{name}-{i:03d}.png" for name in ("blue", "green", "red") for i in range(8)]
    lines = [f"{path},{path.split('-')[0]}" for path in paths]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *lines]) + "\n")
    how = ("--labels", tmp_path / "labels.csv")
    assert call("fit-head", made / "f.h5", *how, "--output", tmp_path / "run").exit_code == 0
    found = json.loads(call("suggest", made / "f.h5", 3, *how, "--by", "doubtful", "--json").stdout)
    assert found["by"] == "doubtful"
    assert not set(found["paths"]) & set(paths)


def test_of_equal_images_one_is_enough(made):
    found = call("suggest", made / "f.h5", 42, "--quiet").stdout.splitlines()
    assert len(found) == 42  # all that differ
    assert len({"red-000.png", "red-again.png"} & set(found)) == 1
    outcome = call("suggest", made / "f.h5", 43)
    assert outcome.exit_code == 1
    assert "Received: 42" in outcome.stderr and "Ask for fewer" in outcome.stderr


def test_without_an_image_to_label_or_without_labels_to_doubt_by_it_says_so(made, tmp_path):
    extract(made / "sorted", tmp_path / "f.h5")
    outcome = call("suggest", tmp_path / "f.h5", 3)
    assert outcome.exit_code == 1
    assert "All images have labels" in outcome.stderr and "--labels FILE.csv" in outcome.stderr
    outcome = call("suggest", made / "f.h5", 3, "--by", "doubtful")
    assert outcome.exit_code == 1
    assert "needs labels of two classes" in outcome.stderr
    assert call("suggest", made / "f.h5", 0).exit_code == 2
    moved = call("suggest", made / "f.h5", 3, "--data", tmp_path / "nowhere")
    assert moved.exit_code == 1 and "There is no such folder" in moved.stderr


def test_names_cannot_end_the_script_of_the_page():
    evil = "</script><script>alert(1)</script>&\u2028'\""
    pixels = np.zeros((8, 8, 3), np.uint8)
    text = make_labelling_page(evil, [PageImage(evil, pixels)], [evil], {evil: evil})
    assert text.count("</script>") == 2  # those of the page itself
    assert "<script>alert" not in text
    page = Page(text)
    assert page.data["images"][0]["path"] == evil
    assert page.data["known"] == [[evil, evil]]
    assert page.data["title"] == evil
