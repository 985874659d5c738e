"""A data set of 16-bit images that use fewer bits: what is said, and what `depth='auto'` does."""

import shutil

import numpy as np
import pytest
from conftest import call, save_image
from PIL import Image

from pipeline.features.feature_file import FeatureFile

LITE0 = ("--backbone", "efficientnet-lite0", "--weights", "random", "--image-size", 32)
N_DEEP = 6

pytestmark = pytest.mark.usefixtures("stand_in_backbone")


def save_deep(path, bits, seed):
    """A gray picture of 16 bits whose brightest pixel needs so many; and the picture of 8 bits."""
    pixels = np.asarray(Image.open(save_image(path, seed, size=32)).convert("L")).copy()
    pixels[0, 0] = 255
    deep = np.round(pixels / 255 * (2**bits - 1)).astype(np.uint16)
    Image.fromarray(deep).save(path)
    return pixels


@pytest.fixture
def photos(tmp_path):
    """Two classes of 12 bits, and a photo of 8."""
    for number in range(N_DEEP):
        pixels = save_deep(tmp_path / f"photos/{number % 2}/{number}.png", 12, number)
        (tmp_path / "shallow" / f"{number % 2}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / f"shallow/{number % 2}/{number}.png")
    save_image(tmp_path / "photos/0/photo.png", 99)
    shutil.copy(tmp_path / "photos/0/photo.png", tmp_path / "shallow/0/photo.png")
    return tmp_path / "photos"


def extract(*options, data="photos"):
    outcome = call("extract", data, *LITE0, *options)
    assert outcome.exit_code == 0, outcome.stderr
    return outcome.stdout.strip(), outcome.stderr


def read(path):
    with FeatureFile(path) as file:
        return file.contents, file.read_all()


@pytest.mark.usefixtures("photos")
def test_dark_images_are_counted_before_they_are_computed_and_the_option_is_named():
    _, said = extract()
    assert (
        "16 bits, of which 12 are used: 6 images. They come out dark, for none is above 4,095, "
        "and white is 65,535. If that is not meant, say --depth auto." in said
    )
    assert said.index("16 bits") < said.index("computed")
    assert "16 bits" not in extract()[1]  # nothing is computed


@pytest.mark.usefixtures("photos")
def test_auto_makes_their_features_those_of_the_pictures_of_8_bits():
    path, said = extract("--depth", "auto")
    assert "16 bits, of which 12 are used: 6 images. White is 4,095, for all that" in said
    contents, features = read(path)
    assert contents.recipe.depth == 12
    expected = read(extract(data="shallow")[0])[1]
    np.testing.assert_allclose(features, expected, atol=0.51)  # of 255: rounding
    dark_path, _ = extract()
    dark = read(dark_path)[1]
    assert path != dark_path
    assert np.abs(dark - expected).max() > 50


def test_the_decision_is_recorded_and_what_is_brighter_is_skipped_and_said(photos):
    path, _ = extract("--depth", "auto")
    _, said = extract("--depth", "auto")
    assert "of which" not in said
    assert "7 kept" in said
    save_deep(photos / "1" / "new.png", 12, 50)
    save_deep(photos / "1" / "bright.png", 14, 51)
    again, said = extract("--depth", "auto")
    assert again == path
    assert "7 kept, 1 computed" in said
    assert "brighter than 12 bits: 16,383 is more than 4,095" in said
    assert "Brighter than what is white in this feature file: 1 image, skipped." in said
    assert "with --depth full, or to another --output" in said
    assert len(read(path)[1]) == 8
    _, said = extract("--depth", "auto", "--output", "anew.h5")
    assert "of which 14 are used: 8 images" in said
    assert read("anew.h5")[0].recipe.depth == 14


def test_auto_is_full_where_an_image_uses_all_bits(photos):
    save_deep(photos / "1" / "bright.png", 16, 7)
    path, said = extract("--depth", "auto")
    assert "of which" not in said
    assert read(path)[0].recipe.depth == 16
    assert extract()[0] == path
    assert "8 kept" in extract("--depth", "full")[1]


@pytest.mark.usefixtures("photos")
def test_a_file_of_the_full_depth_is_not_gone_on_with_at_another():
    extract("--output", "full.h5")
    outcome = call("extract", "photos", *LITE0, "--depth", "auto", "--output", "full.h5")
    assert outcome.exit_code == 1
    assert "What differs: depth: 16 -> 12" in outcome.stderr


def test_new_dark_images_beside_bright_ones_are_not_said_to_be_dark(photos):
    save_deep(photos / "1" / "bright.png", 16, 7)
    extract()
    save_deep(photos / "1" / "new.png", 12, 50)
    assert "of which" not in extract()[1]


def test_images_of_8_bits_start_no_process(photos, monkeypatch):
    from pipeline.images.decoding import isolated_worker

    def start(*_):
        raise AssertionError

    shutil.rmtree(photos)
    save_image(photos / "0" / "1.png", 1)
    save_image(photos / "0" / "1.jpg", 1)
    save_image(photos / "1" / "1.tiff", 1)
    monkeypatch.setattr(isolated_worker, "_Worker", start)
    for depth in ("auto", "full"):
        assert "of which" not in extract("--depth", depth, "--no-reuse")[1]
