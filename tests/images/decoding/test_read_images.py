import hashlib
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import save_image
from PIL import Image

from benchmarks.stand_in import RECIPE
from pipeline.images.decoding.read_images import (
    DEFAULT_LIMITS,
    NO_LIMITS,
    Limits,
    hash_image_file,
    read_image,
)


@pytest.fixture
def image(tmp_path):
    return save_image(tmp_path / "a.png", 1, size=8)


def test_image_comes_with_the_digest_of_its_bytes(image):
    digest, pixels = read_image(image, RECIPE)
    assert digest.tobytes() == hashlib.sha256(image.read_bytes()).digest()
    np.testing.assert_array_equal(pixels, Image.open(image))
    assert hash_image_file(image)[0].tobytes() == digest.tobytes()


def test_too_many_bytes_or_pixels_are_a_reason(image):
    size = image.stat().st_size
    digest, reason = read_image(image, RECIPE, Limits(max_pixels=63))
    assert reason.startswith("too large: 8 x 8 pixels is more than the limit of 63")
    assert digest.any()
    few = Limits(max_bytes=size - 1)
    digest, reason = read_image(image, RECIPE, few)
    assert reason.startswith(f"too large: {size:,} bytes is more than the limit")
    assert not digest.any()  # it was not read
    assert hash_image_file(image, few)[1] == reason
    for limits in (Limits(max_bytes=size, max_pixels=64), NO_LIMITS):
        assert not isinstance(read_image(image, RECIPE, limits)[1], str)


def bytes_read():
    """By this process so far."""
    (line,) = re.findall(r"rchar: (\d+)", Path("/proc/self/io").read_text())
    return int(line)


def test_a_file_of_20_gb_is_refused_by_its_size_and_not_read(tmp_path):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(20 * 2**30)
    before = bytes_read()
    for _, reason in (read_image(tmp_path / "a.jpg", RECIPE),
                      hash_image_file(tmp_path / "a.jpg", DEFAULT_LIMITS)):  # fmt: skip
        assert reason == "too large: 21,474,836,480 bytes is more than the limit of 536,870,912"
    assert bytes_read() - before < 10_000


def test_a_file_that_grows_while_it_is_read_is_a_reason(image, monkeypatch):
    fstat = os.fstat

    def grow(descriptor):
        status = fstat(descriptor)
        with image.open("ab") as file:
            file.write(b"more")
        return status

    monkeypatch.setattr(os, "fstat", grow)
    assert read_image(image, RECIPE)[1] == "cannot be read: it grew while it was being read"


def test_what_takes_a_files_place_is_not_waited_for(image, monkeypatch):
    """A pipe that is there when the file is opened, though a file was there a moment before."""
    status = image.stat()
    image.unlink()
    os.mkfifo(image)
    monkeypatch.setattr(Path, "stat", lambda path: status)
    assert read_image(image, RECIPE)[1] == "cannot be read: it is a pipe or device, not a file"


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


def test_a_file_larger_than_the_memory_is_not_read_where_there_is_no_limit(tmp_path):
    """It took the place of an image that was there at extraction, say."""
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(2**42)
    _, reason = read_image(tmp_path / "a.jpg", RECIPE, NO_LIMITS)
    assert reason.startswith("too large: 4,398,046,511,104 bytes, and ")
