"""benchmarks/compare_decoders.py on a few images."""

import sys

import numpy as np
from conftest import save_image
from PIL import Image

from benchmarks import compare_decoders
from benchmarks.compare_decoders import compare


def test_images_of_any_shape_that_both_decode_are_compared(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (17, 40, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.fromarray(pixels).rotate(90, expand=True).save(tmp_path / "high.png")
    save_image(tmp_path / "inner" / "bmp.bmp", 1)
    (tmp_path / "damaged.png").write_bytes((tmp_path / "wide.png").read_bytes()[:60])
    (tmp_path / "empty.png").write_bytes(b"")
    differences = compare(tmp_path)
    assert list(differences) == ["high.png", "inner/bmp.bmp", "wide.png"]
    assert max(differences.values()) <= 1


def test_an_image_that_differs_is_named(tmp_path, monkeypatch, capsys):
    save_image(tmp_path / "other.png", 1)
    read = compare_decoders.read_with_opencv
    monkeypatch.setattr(compare_decoders, "read_with_opencv", lambda data: 255 - read(data))
    monkeypatch.setattr(sys, "argv", ["compare_decoders.py", str(tmp_path)])
    assert compare_decoders.main() == 1
    printed = capsys.readouterr().out
    assert "other.png" in printed
    assert "1 images that both decode; 0 within 2 of 255" in printed
