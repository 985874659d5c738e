"""Networks with weights of order 1, and the features that Frostline gives for them."""

import keras
import numpy as np
from keras.src.applications.convnext import LayerScale

from pipeline.backbones.build import build_embedding_model
from pipeline.backbones.registry import get_backbone
from pipeline.recipe import Recipe

SIZE = 32


def recipe_of(name, key, image_size=SIZE, **changes) -> Recipe:
    backbone = get_backbone(name)
    values = {
        "backbone": backbone.name,
        "weights": key,
        "image_size": image_size,
        "resize": "stretch",
        "background": (0, 0, 0),
        "decoder_version": 1,
        "channel_order": backbone.channel_order,
        "scale": backbone.scale,
        "offset": backbone.offset,
        "layer": "top",
        "pooling": "avg",
        "precision": "float32",
    }
    return Recipe(**(values | changes))


def features_of(name, weights, images, **changes):
    recipe = recipe_of(name, weights.key, images.shape[1], **changes)
    return np.asarray(build_embedding_model(recipe, weights)(images.astype("float32")))


def random_images(size=SIZE, n_images=3):
    shape = (n_images, size, size, 3)
    return np.random.default_rng(0).integers(0, 256, shape).astype("float32")


def set_statistics(model, images):
    """Makes features of order 1: one pass in training mode sets BatchNormalization's statistics."""
    rates = {layer: layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
            # Keeps most units above zero: a deep random network that is far from linear blows up
            # the last bits of its input, which no trained one does.
            layer.beta.assign(np.full(layer.beta.shape, 2.0))
        if isinstance(layer, LayerScale):
            layer.set_weights([np.ones_like(layer.get_weights()[0])])  # from 1e-6
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            statistics = [[0.5, 0.45, 0.4], [0.05, 0.06, 0.07], 1]
            layer.set_weights([np.array(value) for value in statistics])
            layer.finalize_state()
        if layer in rates:
            layer.rate = 0.0
    model(images, training=True)
    for layer, rate in rates.items():
        layer.rate = rate
