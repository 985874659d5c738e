"""The engines of the embedder: one network, the same features."""

import numpy as np
import pytest
from networks import recipe_of

from pipeline.backbones.build import build_embedding_model
from pipeline.backbones.engines import embedder
from pipeline.backbones.engines.embedder import Embedder, choose_device
from pipeline.backbones.registry import get_backbone
from pipeline.backbones.weights.resolve import resolve_weights

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def model():
    weights = resolve_weights(get_backbone("efficientnet-lite0"), "imagenet")
    return build_embedding_model(recipe_of("efficientnet-lite0", weights.key), weights)


def test_each_engine_and_each_way_to_convert_gives_what_keras_gives(model, monkeypatch):
    expected = np.asarray(model(PIXELS.astype(np.float32)))
    greatest = np.abs(expected).max()
    assert greatest > 1
    device = choose_device("cpu")
    frozen = Embedder(model, device)
    folded = Embedder(model, device, engine="folded")
    monkeypatch.setattr(embedder, "LARGE_WEIGHTS_BYTES", 0)
    monkeypatch.setattr(embedder, "freeze", lambda function: pytest.fail("frozen in memory"))
    saved = Embedder(model, device)
    assert (frozen.engine, saved.engine, folded.engine) == ("litert", "litert", "folded")
    for embed in (frozen, saved, folded):
        assert np.abs(embed(PIXELS) - expected).max() <= 1e-5 * greatest
    np.testing.assert_array_equal(saved(PIXELS), frozen(PIXELS))
