"""Pixels by row number, from memory or decoded anew."""

import threading

import numpy as np
import pytest
from conftest import make_photos

from benchmarks.stand_in import RECIPE
from pipeline.finetuning import pixels
from pipeline.finetuning.pixels import PixelStore


@pytest.fixture
def paths(tmp_path):
    return sorted(make_photos(tmp_path / "photos", n_per_class=3).rglob("*.png"))


def test_rows_out_of_memory_are_those_in_memory(paths):
    rows = np.array([5, 0, 8, 5])
    kept = PixelStore(paths, RECIPE).read(rows)
    np.testing.assert_array_equal(PixelStore(paths, RECIPE, memory_bytes=0).read(rows), kept)
    assert kept.dtype == np.uint8


def test_images_that_do_not_fit_the_memory_are_decoded_side_by_side(paths, monkeypatch):
    """Two decoders wait for each other: one after the other they never meet."""
    meeting, read_image = threading.Barrier(2, timeout=5), pixels.read_image

    def waiting(*arguments):
        meeting.wait()
        return read_image(*arguments)

    monkeypatch.setattr(pixels, "read_image", waiting)
    assert len(PixelStore(paths, RECIPE, memory_bytes=0).read(np.arange(4))) == 4
