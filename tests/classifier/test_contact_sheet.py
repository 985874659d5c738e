"""What `predict --output` leaves: a table, and a page that shows each image under its class."""

import base64
import csv
import hashlib
import io
import json
import os
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from conftest import COLOURS, call, make_photos, save_image
from PIL import Image

import frostline
from pipeline.classifier import contact_sheet
from pipeline.classifier.prediction import Prediction
from pipeline.errors import ParameterError, RunError
from pipeline.runs.run_folder import open_run


@dataclass
class Page(HTMLParser):
    """What a reader finds on a page: under each heading its images; and what a browser runs."""

    text: str
    groups: dict[str, list[dict]] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    inside: list[str] = field(default_factory=list)

    def __post_init__(self):
        HTMLParser.__init__(self)
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.inside.append(tag)
        values = dict(attrs)
        if tag == "a" and "ul" in self.inside:
            self.images.append({"link": values["href"], "words": "", "name": ""})
        if tag == "i" and values:
            self.images[-1]["thumbnail"] = values["class"], values["style"]
        if tag in ("meta", "link", "br"):
            self.inside.pop()

    def handle_endtag(self, tag):
        assert self.inside.pop() == tag

    def handle_data(self, data):
        where = self.inside[-1] if self.inside else ""
        if where == "h2":
            self.images = self.groups.setdefault(data.strip(), [])
        if where in ("b", "span") and self.groups:
            self.images[-1]["words" if where == "b" else "name"] += data

    def find_picture(self, image: dict) -> np.ndarray:
        """A thumbnail's pixels, cut out of its sheet as the style says."""
        sheet, style = image["thumbnail"]
        rule = self.text.split(f".{sheet} {{ --c: ")[1]
        columns = int(rule.split(";")[0])
        data = rule.split("base64,")[1].split(")")[0]
        with Image.open(io.BytesIO(base64.b64decode(data))) as opened:
            side = opened.width // columns
            x, y = (int(part.split(":")[1]) for part in style.split(";"))
            box = (x * side, y * side, (x + 1) * side, (y + 1) * side)
            return np.asarray(opened.convert("RGB").crop(box))


def read_page(folder: Path) -> Page:
    return Page((folder / "contact-sheet.html").read_text())


def predict_by_hand(paths, run, seed=0):
    """Predictions that no network made."""
    n_classes = len(run.class_names)
    rows = np.random.default_rng(seed).dirichlet([1] * n_classes, len(paths)).astype(np.float32)
    found = []
    for path, row in zip(paths, rows, strict=True):
        digest = np.frombuffer(hashlib.sha256(path.read_bytes()).digest(), np.uint8)
        found.append(Prediction(path, row, run.class_names[row.argmax()], None, digest))
    return found


def test_each_image_is_shown_under_its_class_with_the_surest_first(fitted, tmp_path):
    make_photos(tmp_path / "inbox", n_per_class=4)
    (tmp_path / "inbox/bad.jpg").write_bytes(b"\xff\xd8\xff")
    outcome = call("predict", fitted, "inbox", "--output", "out/sheet", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert "out/sheet/contact-sheet.html" in outcome.stderr
    said = {one["path"]: one for one in json.loads(outcome.stdout)}
    page = read_page(tmp_path / "out/sheet")
    assert list(page.groups) == [*COLOURS, "Skipped"]
    n_shown = 0
    for name, images in list(page.groups.items())[:-1]:
        sureness = []
        for image in images:
            n_shown += 1
            target = os.path.normpath(tmp_path / "out/sheet" / image["link"])
            (best,) = said[os.path.relpath(target)]["classes"]
            assert best["name"] == name
            percent = 100 * best["probability"]
            assert image["words"] == (">99.9%" if percent >= 99.95 else f"{percent:.1f}%")
            sureness.append(best["probability"])
            with Image.open(target) as opened:
                colour = np.asarray(opened).mean(axis=(0, 1))
            np.testing.assert_allclose(page.find_picture(image).mean(axis=(0, 1)), colour, atol=12)
        assert sureness == sorted(sureness, reverse=True)
    assert n_shown == 12
    assert "bad.jpg" in page.text
    with (tmp_path / "out/sheet/predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["path"] for row in rows] == list(said)
    for row in rows:
        if row["skipped"]:
            assert row["path"] == "inbox/bad.jpg"
            continue
        (best,) = said[row["path"]]["classes"]
        assert row["predicted"] == best["name"]
        assert float(row[best["name"]]) == pytest.approx(best["probability"], rel=1e-6)


HOSTILE = [
    "<script>alert(1)</script>.png",
    '"><img src=x>.png',
    "a\nb.png",
    "javascript:alert(1).png",
    "\u202egnp.png",
    "x&amp;#.png",
    "G\udce4nse?.png",
]


def test_names_are_inert_and_readable_and_links_lead_to_the_files(fitted, tmp_path):
    paths = [save_image(tmp_path / "in" / name.replace("/", "\u2215"), n)
             for n, name in enumerate(HOSTILE)]  # fmt: skip
    run = open_run(fitted)
    contact_sheet.write_contact_sheet(
        tmp_path / "in/sheet", predict_by_hand(paths, run), run, force=False
    )
    page = read_page(tmp_path / "in/sheet")
    assert not page.tags & {"script", "img", "iframe"}
    assert "default-src 'none'" in page.text
    images = [image for group in page.groups.values() for image in group]
    targets = [
        os.fsencode(tmp_path / "in/sheet") + b"/" + unquote_to_bytes(i["link"]) for i in images
    ]
    assert {os.path.normpath(target) for target in targets} == {os.fsencode(p) for p in paths}
    assert not any(":" in image["link"] for image in images)
    names = {image["name"] for image in images}
    assert {"a\\nb.png", "<script>alert(1)<\u2215script>.png", "G\\udce4nse?.png"} <= names
    assert "\u202e" not in page.text


def test_a_page_stays_below_its_bytes_and_says_what_is_left_out(fitted, tmp_path, monkeypatch):
    paths = [save_image(tmp_path / "in" / f"{n:03d}.png", n) for n in range(24)]
    run = open_run(fitted)
    predictions = predict_by_hand(paths, run)
    sizes = {}
    for most in (90_000, 24_000):
        monkeypatch.setattr(contact_sheet, "MOST_BYTES", most)
        folder = tmp_path / str(most)
        contact_sheet.write_contact_sheet(folder, predictions, run, force=False)
        text = (folder / "contact-sheet.html").read_text()
        sizes[most] = len(text.encode())
        assert sizes[most] <= most
        page = Page(text)
        images = [image for group in page.groups.values() for image in group]
        assert len(images) == 24
        n_without = sum("thumbnail" not in image for image in images)
        assert (n_without > 0) == (most == 24_000)
        assert (n_without > 0) == (f"Without a picture: {n_without} images" in text)
    assert sizes[90_000] > sizes[24_000]


def test_an_older_sheet_is_replaced_only_with_force_and_only_files_can_be_shown(fitted, tmp_path):
    photo = save_image(tmp_path / "a.png", 1)
    frostline.predict(fitted, photo, output="sheet")
    with pytest.raises(RunError, match="This output exists already"):
        frostline.predict(fitted, photo, output="sheet")
    frostline.predict(fitted, photo, output="sheet", force=True)
    (tmp_path / "sheet/notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds something else"):
        frostline.predict(fitted, photo, output="sheet", force=True)
    with pytest.raises(ParameterError, match="Received: 1 image without a path"):
        frostline.predict(fitted, [photo, photo.read_bytes()], output="other")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "sheet"]
