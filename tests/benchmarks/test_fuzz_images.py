"""A short run of benchmarks/fuzz_images.py, and what it calls a failure."""

import io
import sys

import pytest
from PIL import Image

from benchmarks import fuzz_images
from benchmarks.fuzz_images import describe_failures, make_seeds, run
from pipeline.images.decoding.decode import decode_image


def test_hundreds_of_damaged_images_end_as_a_picture_or_a_reason():
    result = run(400, random_state=1, output=None)
    assert describe_failures(result) == []
    assert sum(result["outcomes"].values()) == 400
    assert 100 < result["outcomes"]["picture"] < 350
    assert all(name.startswith(("picture", "reason: ")) for name in result["outcomes"])


def test_memory_of_the_process_that_starts_it_does_not_count():
    ballast = bytearray(b"x" * (700 * 2**20))
    result = run(3, random_state=1, output=None)
    assert len(ballast) > 2**20 * result["peak_memory_mb"]


def test_seeds_are_whole_pictures_of_all_common_formats():
    pytest.importorskip("pillow_heif")
    formats = set()
    for data in make_seeds():
        decode_image(data, 64)
        is_heic = data[4:12] == b"ftypheic"
        formats.add("HEIC" if is_heic else Image.open(io.BytesIO(data)).format)
    assert formats == {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "ICO", "AVIF",
                       "PPM", "TGA", "QOI", "HEIC"}  # fmt: skip


@pytest.mark.parametrize(
    ("failed", "peak_memory_mb", "exit_code"),
    [([], 2048, 0), ([], 2049, 1), ([(7, "crash")], 100, 1)],
)
def test_crashes_and_too_much_memory_are_failures(
    monkeypatch, capsys, failed, peak_memory_mb, exit_code
):
    result = {"outcomes": {}, "images": 9, "seconds": 1.0, "slowest_seconds": 0.1}
    result |= {"failed": failed, "peak_memory_mb": peak_memory_mb}
    monkeypatch.setattr(fuzz_images, "run", lambda *arguments: result)
    monkeypatch.setattr(sys, "argv", ["fuzz_images.py"])
    assert fuzz_images.main() == exit_code
    printed = capsys.readouterr().out
    assert ("image 7: crash" in printed) == bool(failed)
    assert ("2,049 MB of memory, more than 2,048" in printed) == (peak_memory_mb > 2048)
