"""A run's model on a GPU, by stand-ins that compute on the CPU."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import call

from pipeline.backbones.engines.device import Device
from pipeline.backbones.engines.engine import Network
from pipeline.backbones.engines.registry import ENGINES, EngineKind
from pipeline.classifier import model as model_module
from pipeline.classifier.load import load_run
from pipeline.classifier.model import Classifier

A_GPU = Device("/GPU:0", "GPU 0, H100", "H100", "9.0")
opened = []  # batch sizes, in the order in which networks were opened


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


class Colours:
    """Rows are mean colours; how it was opened is written down."""

    name, version, precision = "colours", "1", "float32"
    takes_fewer, n_features, n_streams = False, 3, 2
    notes = ()

    def __init__(self, network, device, batch_size, n_streams):
        self.device = device
        self.batch_size = batch_size or device.batch_size
        opened.append(self.batch_size)

    def __call__(self, pixels):
        assert len(pixels) == self.batch_size
        return pixels.mean((1, 2)).astype(np.float32)

    def advise(self):
        return []


def find_any(wanted):
    return Device("/CPU:0", "CPU") if wanted == "cpu" else A_GPU


@pytest.fixture
def run_of_colours(photos, tmp_path, monkeypatch):
    """A run of an engine that serves a GPU, too; its features were made on a CPU."""
    here = (f"{__name__}:Colours", ("cpu", "gpu"), f"{__name__}:find_any")
    monkeypatch.setitem(ENGINES, "colours", EngineKind("colours", "Colours", *here))
    how = ("--weights", "random", "--image-size", 24, "--engine", "colours", "--device", "cpu")
    for words in (
        ("extract", photos, *how, "--output", tmp_path / "f.h5"),
        ("fit-head", tmp_path / "f.h5", "--output", tmp_path / "run"),
    ):
        outcome = call(*words)
        assert outcome.exit_code == 0, outcome.stderr
    opened.clear()
    return tmp_path / "run"


def test_a_command_opens_one_network_for_few_images_or_for_many(run_of_colours, photos):
    how = ("--engine", "colours", "--device", "gpu")
    images = sorted(photos.rglob("*.png"))
    assert len(images) > 8
    for paths, batch_size in ((images[:1], 8), (images, 128)):
        opened.clear()
        (run_of_colours / "parity.json").unlink(missing_ok=True)
        outcome = call("predict", run_of_colours, *paths, *how)
        assert outcome.exit_code == 0, outcome.stderr
        assert opened == [batch_size]
    opened.clear()
    assert call("evaluate", run_of_colours, photos, *how).exit_code == 0
    assert opened == [128]


def test_a_loaded_model_opens_large_batches_when_it_needs_them_and_uses_them_then(
    run_of_colours, photos
):
    images = sorted(photos.rglob("*.png"))
    model = load_run(run_of_colours, engine="colours", device="gpu")
    assert opened == [8]
    many = model.predict(images)
    assert opened == [8, 128]
    (one,) = model.predict(images[3:4])
    assert opened == [8, 128]
    np.testing.assert_allclose(one.probabilities, many[3].probabilities, rtol=1e-6)
