"""Every line of the table in OpenVINO, against Keras on the same weights. Most of it is slow."""

import ctypes
import gc
import sys

import keras
import numpy as np
import pytest
from networks import random_images, recipe_of, set_statistics

from pipeline.backbones.build import build_embedding_model
from pipeline.backbones.engines.engine import Network
from pipeline.backbones.engines.opening import open_embedder
from pipeline.backbones.registry import BACKBONES, get_backbone
from pipeline.backbones.weights.resolve import resolve_weights

LEAST_SIZE = {"inceptionv3": 75, "inceptionresnetv2": 75, "xception": 71}
QUICK = ("mobilenetv3small", "squeezenet1_1")
NAMES = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in BACKBONES
]


@pytest.fixture(autouse=True)
def _give_memory_back():
    """Networks hold gigabytes: first in circles, then where glibc keeps what was freed."""
    yield
    keras.backend.clear_session()
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@pytest.mark.parametrize("name", NAMES)
def test_openvino_gives_what_keras_gives_and_equal_bits_at_any_place(name):
    size = LEAST_SIZE.get(name, 64)
    weights = resolve_weights(get_backbone(name), "random")
    model = build_embedding_model(recipe_of(name, weights.key, size), weights)
    prepare = model.get_layer("preprocessing")
    set_statistics(model.get_layer("backbone"), prepare(random_images(size, 32)))
    pixels = random_images(size, 7).astype(np.uint8)
    expected = np.asarray(model(pixels.astype(np.float32)))
    greatest = np.abs(expected).max()
    assert greatest > 0.01
    assert len(np.unique(expected, axis=0)) == 7
    for precision in ("float32", "mixed_bfloat16"):
        embed = open_embedder(Network(lambda: model, precision), "cpu", engine="openvino")
        rows = embed(pixels)
        if precision == "float32":
            assert np.abs(rows - expected).max() <= 1e-4 * greatest
        order = [6, 2, 2, 0, 5, 1, 3, 4, 6]
        assert np.array_equal(embed(pixels[order]), rows[order])
        del embed
        other = open_embedder(Network(lambda: model, precision), "cpu", n_streams=3, batch_size=3)
        assert np.array_equal(other(pixels), rows)
        del other
