"""What lies beside exported models: names, thresholds, references, and code to copy."""

import hashlib
import json
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifests import make_manifest
from PIL import Image, ImageCms
from tiny_export import CLASSES, SIDE, compute, make_export

from pipeline.classifier.export.beside import mistakes, reference
from pipeline.classifier.export.beside.snippets import show_preparing
from pipeline.classifier.export.beside.thresholds import describe_thresholds
from pipeline.classifier.export.beside.write_beside import list_labels
from pipeline.classifier.export.contents import ModelInput
from pipeline.classifier.export.images import ImagesOfExport
from pipeline.images.decoding.decode import RESIZE_MODES, decode_image
from pipeline.recipe import Recipe
from pipeline.runs.promise.distance import Surroundings
from pipeline.runs.promise.guard import Guard
from pipeline.runs.promise.record import PromisePart

BACKGROUND = (200, 100, 50)


@given(st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1), min_size=1))
def test_whatever_the_names_labels_txt_has_a_line_for_each_in_utf_8(names):
    written = list_labels(names).encode("utf-8").decode("utf-8")
    assert len(written.splitlines()) == len(written.split("\n")) - 1 == len(names)


def test_ordinary_names_stay_as_they_are_and_a_line_break_is_escaped():
    assert list_labels(["Ä b", "犬", "क्‍ष", "a\\b"]) == "Ä b\n犬\nक्‍ष\na\\b\n"
    assert list_labels(["a\nb", "\udcff"]) == "a\\nb\n\\udcff\n"


def test_references_are_told_to_any_language(tmp_path):
    export = make_export(tmp_path)
    expected = json.loads((export / "reference" / "expected.json").read_text("utf-8"))
    assert expected["class_names"] == CLASSES
    assert len(expected["images"]) == 20
    for number, image in enumerate(expected["images"]):
        assert image["image"] == f"images/{number:02d}-photo_{number}_of_a_tree.png"
        assert (export / "reference" / image["image"]).read_bytes() == bytes([number])
        pixels = np.array(Image.open(export / "reference" / image["pixels"]))
        assert pixels.shape == (SIDE, SIDE, 3)
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == image["sha256_of_rgb_bytes"]
        np.testing.assert_allclose(image["probabilities"], compute(pixels[None])[0], atol=1e-6)
        assert image["label"] == CLASSES[number % 4]


def test_a_huge_image_is_not_copied(tmp_path, monkeypatch):
    monkeypatch.setattr(reference, "MOST_BYTES", 0)
    export = make_export(tmp_path)
    expected = json.loads((export / "reference" / "expected.json").read_text("utf-8"))
    assert {image["image"] for image in expected["images"]} == {None}
    assert list((export / "reference" / "images").iterdir()) == []
    assert len(list((export / "reference" / "pixels").iterdir())) == 20


@given(st.integers(0, 999), st.floats(0, 1), st.one_of(st.none(), st.floats(0, 1)))
def test_by_the_rules_of_thresholds_json_the_answers_are_those_of_the_run(seed, least, greatest):
    random = np.random.default_rng(seed)
    promise = PromisePart(0.9, least, greatest, 0.02, 100, 90, 89, 0.93, 3)
    surroundings = None
    if greatest is not None:
        rows = random.normal(0, 1, (5, 4))
        surroundings = Surroundings(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    features = random.normal(0, 1, (12, 4)).astype(np.float32)
    probabilities = random.dirichlet(np.ones(3), 12)
    file = json.loads(json.dumps(describe_thresholds(promise)))
    distances = np.zeros(12) if surroundings is None else surroundings.measure(features)
    answers = []
    for distance, row in zip(distances, probabilities, strict=True):
        if file["greatest_distance"] is not None and distance > file["greatest_distance"]:
            answers.append(file["answers"]["unlike"])
        else:
            is_sure = row.max() >= file["least_confidence"]
            answers.append(None if is_sure else file["answers"]["unsure"])
    assert answers == Guard(promise, surroundings).judge(features, probabilities)
    assert len(file["how"]) == (1 if greatest is None else 2)
    for number in filter(None, (least, greatest)):
        assert str(number) in " ".join(file["how"])


def save_odd_pictures(folder):
    """A photo that lies on its side and is far larger, one with a hole, one of other colours."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (9, 7, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    large = coarse.resize((1501, 998), Image.Resampling.BICUBIC)
    large.save(folder / "side.jpg", exif=exif, quality=95)
    hole = coarse.resize((333, 200)).convert("RGBA")
    hole.putalpha(Image.linear_gradient("L").resize(hole.size))
    hole.save(folder / "hole.png")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = profile.replace(b"rXYZ", b"TEMP").replace(b"gXYZ", b"rXYZ").replace(b"TEMP", b"gXYZ")
    coarse.resize((90, 160)).save(folder / "colours.png", icc_profile=swapped)
    coarse.convert("L").resize((40, 20)).save(folder / "small-gray.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("resize", RESIZE_MODES)
def test_the_code_of_a_card_makes_the_pixels_that_the_decoder_makes(tmp_path, resize):
    code = show_preparing(ModelInput(64, 64, resize, BACKGROUND, "bilinear, antialiased"))
    names = {}
    exec(code, names)
    for path in save_odd_pictures(tmp_path):
        expected = decode_image(path.read_bytes(), 64, resize, BACKGROUND).astype(int)
        assert np.abs(names["prepare"](path) - expected).max() <= 1, path.name
        assert expected.std() > 10


def test_mistakes_in_resizing_are_those_of_other_programs(tmp_path):
    """OpenCV resizes without antialiasing, a crop and a pad are cut and framed by hand."""
    noise = np.random.default_rng(0).integers(0, 256, (120, 200, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(noise).save(path)
    recipe = Recipe.from_json(json.dumps(make_manifest()["recipe"]))
    recipe = replace(recipe, image_size=20, background=(9, 9, 9))
    right = decode_image(path.read_bytes(), 20)[None]
    images = ImagesOfExport([path], np.array([0]), right, "val")
    found = dict(mistakes.prepare_wrongly(images, np.array([0]), recipe))
    four = cv2.resize(noise, (20, 20), interpolation=cv2.INTER_LINEAR)
    assert np.abs(found["resized without antialiasing"][0].astype(int) - four).max() <= 1
    middle = Image.fromarray(noise[:, 40:160]).resize((20, 20), Image.Resampling.BILINEAR)
    cropped = found["cropped to the middle square"][0].astype(int)
    assert np.abs(cropped - np.array(middle)).mean() < 2 < np.abs(cropped - right[0]).mean()
    assert (found["padded to a square"][0][:4] == 9).all()
    np.testing.assert_array_equal(found["scaled to 0..1"], right.astype(np.float32) / 255)
    np.testing.assert_array_equal(found["mirrored"], right[:, :, ::-1])


def test_numbers_of_the_promise_are_finite_in_json():
    promise = PromisePart(0.9, 0.0, None, 0.0, 100, 100, 99, 0.95, 1)
    file = describe_thresholds(promise)
    assert file["greatest_distance"] is None
    assert math.isfinite(file["promise"]["lower_bound"])
