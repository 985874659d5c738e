"""Images through several networks: each is decoded once for each size, and rows fit together."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import save_image

from benchmarks.stand_in import RECIPE, StandIn
from pipeline.classifier.embed_images import embed_images
from pipeline.classifier.sources import Source, make_source
from pipeline.images.decoding.read_images import DEFAULT_LIMITS, read_image

LARGE = replace(RECIPE, image_size=12)
OTHER = replace(RECIPE, backbone="another", channel_order="BGR", scale=(2.0, 2.0, 2.0))


class Doubled(StandIn):
    """Another network: twice the features of the stand-in."""

    def __call__(self, pixels):
        return 2 * super().__call__(pixels)


@pytest.fixture
def paths(tmp_path):
    return [save_image(tmp_path / f"{i}.png", seed=i, size=24 + i) for i in range(3)]


def counting(path, recipes_read):
    def read(recipe, limits):
        recipes_read.append(recipe)
        return read_image(path, recipe, limits)

    return Source(str(path), path, read)


def test_the_rows_of_each_network_stand_side_by_side(paths):
    read = []
    sources = [counting(path, read) for path in paths]
    networks = StandIn(), Doubled(), StandIn()
    outcomes, features = embed_images(sources, [RECIPE, OTHER, LARGE], networks, DEFAULT_LIMITS)
    small, large = (
        np.stack([read_image(path, recipe)[1] for path in paths]) for recipe in (RECIPE, LARGE)
    )
    expected = [StandIn()(small), 2 * StandIn()(small), StandIn()(large)]
    np.testing.assert_array_equal(features, np.concatenate(expected, axis=1))
    assert [reason for _, reason in outcomes] == [None] * 3
    assert len(read) == 2 * len(paths)  # two networks see the same pixels


def test_an_image_that_one_network_cannot_have_gets_none_and_the_others_keep_theirs(
    paths, tmp_path
):
    whole = save_image(tmp_path / "whole.jpg", seed=9, size=200)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    recipes = replace(RECIPE, truncated="keep"), LARGE
    images = [make_source(path, 0) for path in (paths[0], cut, paths[1])]
    assert not isinstance(read_image(cut, recipes[0])[1], str)
    outcomes, features = embed_images(images, recipes, [StandIn(), StandIn()], DEFAULT_LIMITS)
    reasons = [reason for _, reason in outcomes]
    assert reasons == [None, read_image(cut, LARGE)[1], None]
    kept = [make_source(path, 0) for path in paths[:2]]
    _, expected = embed_images(kept, recipes, [StandIn(), StandIn()], DEFAULT_LIMITS)
    np.testing.assert_array_equal(features, expected)


def test_a_file_that_changes_between_two_networks_gives_no_row_of_both(paths):
    turns = iter(paths)
    changing = Source("changing.png", None, lambda *how: read_image(next(turns), *how))
    ((_, reason),), features = embed_images(
        [changing], [RECIPE, LARGE], [StandIn(), StandIn()], DEFAULT_LIMITS
    )
    assert reason == "cannot be read: it changed while it was being read"
    assert features.shape == (0, 48)
