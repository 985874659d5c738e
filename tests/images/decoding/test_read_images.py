import hashlib
import os
from dataclasses import replace

import numpy as np
import pytest
from conftest import save_image
from PIL import Image

from benchmarks.stand_in import RECIPE
from pipeline.images.decoding.read_images import NO_LIMITS, Limits, hash_image_file, read_image


@pytest.fixture
def image(tmp_path):
    return save_image(tmp_path / "a.png", 1, size=8)


def test_image_comes_with_the_digest_of_its_bytes(image):
    digest, pixels = read_image(image, RECIPE)
    assert digest.tobytes() == hashlib.sha256(image.read_bytes()).digest()
    np.testing.assert_array_equal(pixels, Image.open(image))
    assert hash_image_file(image)[0].tobytes() == digest.tobytes()


def test_too_many_bytes_or_pixels_are_a_reason_and_the_digest_is_known(image):
    size = image.stat().st_size
    for limits, words in (
        (Limits(max_bytes=size - 1), f"too large: {size:,} bytes is more than the limit"),
        (Limits(max_pixels=63), "too large: 8 x 8 pixels is more than the limit of 63"),
    ):
        digest, reason = read_image(image, RECIPE, limits)
        assert reason.startswith(words)
        assert digest.any()
    for limits in (Limits(max_bytes=size, max_pixels=64), NO_LIMITS):
        assert not isinstance(read_image(image, RECIPE, limits)[1], str)


def test_what_is_no_file_is_a_reason_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path / "gone.png", "No such file"),
        (tmp_path, "it is a folder"),
        (tmp_path / "pipe", "a pipe or device"),
        (tmp_path.joinpath("/dev/zero"), "a pipe or device"),
    ):
        digest, reason = read_image(path, RECIPE)
        assert words in reason
        assert not digest.any()
        assert words in hash_image_file(path)[1]


def test_recipe_says_what_becomes_of_an_image_cut_short(tmp_path):
    small = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(small).resize((200, 200)).save(tmp_path / "a.jpg", quality=95)
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) * 3 // 4])
    assert read_image(tmp_path / "a.jpg", RECIPE)[1].startswith("truncated")
    kept = read_image(tmp_path / "a.jpg", replace(RECIPE, truncated="keep"))[1]
    assert kept.shape == (8, 8, 3)
