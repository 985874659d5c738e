"""How alike two pictures are, of pictures whose relation is known."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from pipeline.images.same_picture.alignment import SIDE, measure_likeness, prepare
from pipeline.images.same_picture.copies import CHANGES, make_copies


def make_picture(seed, side=200):
    """Edges of all sizes, as photographs have."""
    random = np.random.default_rng(seed)
    pixels = np.zeros((side, side, 3))
    for cells in (4, 8, 16, 32):
        rough = Image.fromarray(random.integers(0, 256, (cells, cells, 3), np.uint8))
        pixels += np.asarray(rough.resize((side, side), Image.Resampling.BICUBIC)) * cells**-0.5
    return Image.fromarray((255 * pixels / pixels.max()).astype(np.uint8))


def shrink(image):
    return prepare(np.array(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX)))


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_alike_and_another_picture_is_not(change):
    likeness = [
        measure_likeness(
            shrink(make_picture(seed)),
            prepare(make_copies(np.array(make_picture(seed)), SIDE)[0][change]),
        )
        for seed in range(4)
    ]
    others = [
        measure_likeness(shrink(make_picture(seed)), shrink(make_picture(seed + 1)))
        for seed in range(4)
    ]
    assert min(likeness) > 0.6 > max(others)


@pytest.mark.parametrize("box", [(0, 0, 150, 150), (60, 30, 190, 160), (20, 20, 180, 180)])
def test_a_part_is_found_wherever_it_is_and_from_both_sides(box):
    whole = make_picture(7)
    part = ImageOps.mirror(whole.crop(box))
    there = measure_likeness(shrink(whole), shrink(part))
    assert there > 0.85
    assert there == pytest.approx(measure_likeness(shrink(part), shrink(whole)), abs=1e-6)


def test_likeness_is_the_correlation_of_the_same_picture_with_itself():
    assert measure_likeness(shrink(make_picture(1)), shrink(make_picture(1))) > 0.95


def test_pictures_of_one_colour_are_like_nothing():
    plain = shrink(Image.new("RGB", (80, 80), (90, 140, 30)))
    other = shrink(Image.new("RGB", (80, 80), (91, 140, 30)))
    assert abs(measure_likeness(plain, other)) < 0.1
    assert abs(measure_likeness(plain, shrink(make_picture(1)))) < 0.5
