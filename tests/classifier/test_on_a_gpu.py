"""A run's model on a GPU, by a stand-in that computes on the CPU."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from pipeline.backbones.engines.device import Device
from pipeline.backbones.engines.engine import Network
from pipeline.classifier import model as model_module
from pipeline.classifier.model import Classifier

A_GPU = Device("/GPU:0", "GPU 0, H100", "H100", "9.0")


def build_tiny():
    inputs = keras.Input((4, 4, 3))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))


@pytest.mark.parametrize(("n_images", "batch_size"), [(1, 8), (8, 8), (9, 128), (200, 128)])
def test_a_few_images_are_not_padded_to_a_large_batch(monkeypatch, n_images, batch_size):
    monkeypatch.setattr(model_module, "load_guard", lambda run: None)
    classifier = Classifier(SimpleNamespace(), [Network(build_tiny)], None, A_GPU, "tensorflow")
    pixels = np.arange(n_images * 48, dtype=np.uint8).reshape(n_images, 4, 4, 3)
    assert classifier.open_engines(n_images)[0].batch_size == batch_size
    np.testing.assert_allclose(classifier.embed(pixels), pixels.mean(axis=(1, 2)), rtol=1e-5)
