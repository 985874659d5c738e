"""Views of an image depend on seed, digest and number alone."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.images.augmentation.augment import AUGMENTATION_VERSION, Augmentation
from pipeline.images.augmentation.read_views import make_views
from pipeline.images.augmentation.views import PRESETS, Views, describe_differences

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
DIGEST = np.frombuffer(hashlib.sha256(b"an image").digest(), np.uint8)
FOUR = Views(4, "light", 0, AUGMENTATION_VERSION)

SEEDS = st.integers(0, 2**32 - 1)
DIGESTS = st.binary(min_size=32, max_size=32)


@settings(max_examples=30)
@given(st.sampled_from(PRESETS), SEEDS, DIGESTS, st.lists(st.integers(0, 4), min_size=1))
def test_a_view_has_the_same_bits_alone_and_among_others(augment, seed, digest, numbers):
    views = Views(5, augment, seed, AUGMENTATION_VERSION)
    known = np.frombuffer(digest, np.uint8)
    whole = make_views(PIXELS, known, views, range(5))
    np.testing.assert_array_equal(make_views(PIXELS, known, views, numbers), whole[numbers])
    np.testing.assert_array_equal(whole[0], PIXELS)
    assert whole.dtype == np.uint8


def test_threads_that_work_side_by_side_give_the_same_bits():
    digests = np.random.default_rng(1).integers(0, 256, (40, 32), dtype=np.uint8)
    strong = replace(FOUR, augment="strong")

    def make(digest):
        return make_views(PIXELS, digest, strong, range(4))

    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(pool.map(make, digests), map(make, digests), strict=True):
            np.testing.assert_array_equal(one, other)


def test_views_are_those_of_fine_tuning_in_whole_values():
    number = int.from_bytes(DIGEST.tobytes()[:8], "little")
    augment = Augmentation("light", flip=False, seed=7)
    expected = [augment(PIXELS[None], np.array([number], np.uint64), n)[0] for n in (1, 2, 3)]
    found = make_views(PIXELS, DIGEST, replace(FOUR, seed=7), FOUR.augmented)
    np.testing.assert_array_equal(found, np.rint(expected))


def test_another_image_seed_or_number_gives_another_view():
    other = np.frombuffer(hashlib.sha256(b"another").digest(), np.uint8)
    shown = [
        *make_views(PIXELS, DIGEST, FOUR, range(4)),
        *make_views(PIXELS, other, FOUR, FOUR.augmented),
        *make_views(PIXELS, DIGEST, replace(FOUR, seed=1), FOUR.augmented),
        *make_views(PIXELS, DIGEST, replace(FOUR, augment="strong"), FOUR.augmented),
    ]
    assert not any(np.array_equal(a, b) for a, b in combinations(shown, 2))


@given(st.lists(DIGESTS, min_size=1, max_size=3, unique=True), SEEDS, SEEDS)
def test_no_two_views_are_known_by_the_same_key(digests, seed, other):
    keys = {
        views.key_of(digest, number)
        for digest in digests
        for views in (
            Views(3, augment, one, version)
            for augment in PRESETS
            for one in {seed, other}
            for version in (1, 2)
        )
        for number in range(3)
    }
    n_ways = len(PRESETS) * len({seed, other}) * 2
    assert len(keys) == len(digests) * (1 + 2 * n_ways)  # all share view 0


def test_more_views_hold_the_fewer():
    eight = replace(FOUR, number=8)
    assert eight.are_made_like(FOUR)
    assert eight.key_of(DIGEST.tobytes(), 3) == FOUR.key_of(DIGEST.tobytes(), 3)
    assert not replace(FOUR, seed=1).are_made_like(FOUR)
    assert not FOUR.are_made_like(None)


def test_what_differs_is_named():
    assert describe_differences(FOUR, replace(FOUR, number=8, augment="strong")) == [
        "views: 4 -> 8",
        "augment: light -> strong",
    ]
    assert describe_differences(None, FOUR) == [
        "views: none -> 4 views of each image (light, seed 0)"
    ]
    assert describe_differences(None, None) == describe_differences(FOUR, FOUR) == []


@pytest.mark.parametrize(
    "wrong",
    [{"number": 1}, {"number": 10**9}, {"augment": "wild"}, {"seed": -1}, {"version": 0}],
)
def test_what_no_frostline_wrote_is_refused(wrong):
    with pytest.raises(ValueError, match="Expected"):
        replace(FOUR, **wrong)
