"""Sprite sheets keep within the bytes that there are, and lose the less important images first."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.stand_in import RECIPE
from pipeline.report.gathering.image_pool import ImageFile
from pipeline.report.gathering.thumbnails import make_thumbnails


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[ImageFile]:
    """Noise, which takes as many bytes as a picture can."""
    folder, random = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    for number in range(40):
        pixels = random.integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return [ImageFile(folder / f"{number}.png", None) for number in range(40)]


@pytest.mark.parametrize("n_bytes", [0, 100, 3_000, 20_000, 60_000, 10**6])
def test_sheets_take_no_more_bytes_than_there_are(files, n_bytes):
    made = make_thumbnails(files, range(10), range(40), RECIPE, n_bytes)
    assert sum(len(sheet.url) for sheet in made.sheets) <= n_bytes
    assert len(made.places) + made.n_without == 40
    assert len(set(made.places.values())) == len(made.places)
    if made.places:
        assert made.n_without == 0 or 0 in made.places or n_bytes < 3_000


def test_with_room_for_all_those_to_be_looked_at_are_large(files):
    made = make_thumbnails(files, [7, 3], range(40), RECIPE, 10**6)
    tiles = {number: made.sheets[sheet].tile for number, (sheet, _) in made.places.items()}
    assert tiles.pop(7) == tiles.pop(3) == 128
    assert set(tiles.values()) == {64} and len(tiles) == 38
    assert made.places[7] == (0, 0) and made.places[3] == (0, 1)


def test_a_file_that_is_no_picture_is_told(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    made = make_thumbnails([ImageFile(Path(tmp_path / "a.jpg"), None)], [0], [0], RECIPE, 10**6)
    assert made.gone == [0] and not made.places and not made.sheets
