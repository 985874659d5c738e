"""The engines: one network, the same features; and what is said where one cannot run it."""

import re
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from networks import recipe_of

from pipeline.backbones.build import build_embedding_model
from pipeline.backbones.engines import device as device_module
from pipeline.backbones.engines import litert
from pipeline.backbones.engines.device import choose_device, describe_cpu, read_cpu_model
from pipeline.backbones.engines.engine import CannotRunError, Network
from pipeline.backbones.engines.registry import ENGINES, open_embedder
from pipeline.backbones.registry import get_backbone
from pipeline.backbones.weights.resolve import resolve_weights
from pipeline.errors import EngineError

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def model():
    weights = resolve_weights(get_backbone("efficientnet-lite0"), "imagenet")
    return build_embedding_model(recipe_of("efficientnet-lite0", weights.key), weights)


@pytest.fixture
def network(model):
    return Network(lambda: model)


def refuse(function):
    raise CannotRunError("no such operation")


def test_each_engine_and_each_way_to_convert_gives_what_keras_gives(model, network, monkeypatch):
    expected = np.asarray(model(PIXELS.astype(np.float32)))
    greatest = np.abs(expected).max()
    assert greatest > 1
    device = choose_device("cpu")
    frozen = open_embedder(network, device)
    folded = open_embedder(network, device, engine="tensorflow")
    monkeypatch.setattr(litert, "LARGE_WEIGHTS_BYTES", 0)
    monkeypatch.setattr(litert, "freeze", lambda function: pytest.fail("frozen in memory"))
    saved = open_embedder(network, device)
    names = [embed.record.name for embed in (frozen, saved, folded)]
    assert names == ["litert", "litert", "tensorflow"]
    for embed in (frozen, saved, folded):
        assert np.abs(embed(PIXELS) - expected).max() <= 1e-5 * greatest
    np.testing.assert_array_equal(saved(PIXELS), frozen(PIXELS))


def test_the_record_says_what_computes(network):
    record = open_embedder(network, describe_cpu(), batch_size=2, n_streams=3).record
    assert (record.name, record.version) == ("litert", version("ai-edge-litert"))
    assert (record.device, record.compute_capability) == ("cpu", "")
    assert (record.precision, record.n_threads, record.batch_size) == ("float32", 3, 2)
    assert record.device_name == read_cpu_model()


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="Linux says it there")
def test_the_cpu_is_called_what_the_system_calls_it():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = {line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")}
    assert read_cpu_model() in names or not names


def test_a_gpu_says_its_name_and_what_it_can(monkeypatch):
    """A stand-in: what TensorFlow answers on a machine with one."""
    import tensorflow as tf

    details = {"device_name": "NVIDIA H100 80GB HBM3", "compute_capability": (9, 0)}
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["first"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda gpu, on: None)
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    device = choose_device("auto")
    assert (device.kind, device.model, device.compute_capability) == (
        "gpu", "NVIDIA H100 80GB HBM3", "9.0",
    )  # fmt: skip
    assert device.description == "GPU 0, NVIDIA H100 80GB HBM3"
    assert (device.batch_size, choose_device("cpu").batch_size) == (128, 1)


def test_tensorflow_is_set_up_for_embedding_only_where_nothing_else_runs(monkeypatch):
    calls = []
    monkeypatch.setattr(device_module, "use_one_thread_per_operation", lambda: calls.append(1))
    choose_device("cpu")
    assert calls == []
    choose_device("cpu", is_alone=True)
    assert calls == [1]


def test_a_network_that_the_first_engine_cannot_run_is_run_by_the_next_and_built_once(
    model, monkeypatch
):
    monkeypatch.setattr(litert, "convert_to_litert", refuse)
    built = []
    network = Network(lambda: built.append(model) or model)
    embed = open_embedder(network, choose_device("cpu"))
    assert embed.record.name == "tensorflow"
    assert embed.notes[1:] == [
        "LiteRT cannot run this network (no such operation); TensorFlow does, more slowly."
    ]
    assert len(built) == 1


def test_an_engine_that_was_asked_for_and_cannot_is_an_error_not_another(network, monkeypatch):
    monkeypatch.setattr(litert, "convert_to_litert", refuse)
    with pytest.raises(EngineError, match=r"LiteRT cannot run.*no such operation.*`engine=litert`"):
        open_embedder(network, choose_device("cpu"), engine="litert")


def test_why_an_engine_cannot_is_said_without_a_compilers_talk():
    """Of 16 bits LiteRT has no convolution: seen with TensorFlow 2.21."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3))])
    def convolve(pixels):
        kernel = tf.ones((3, 3, 3, 2), tf.float16)
        return tf.cast(tf.nn.conv2d(tf.cast(pixels, tf.float16), kernel, 1, "SAME"), tf.float32)

    with pytest.raises(CannotRunError) as caught:
        litert.convert_to_litert(convolve)
    assert str(caught.value) == "it has no such operation for these types: Conv2D"


def test_an_engine_that_is_not_there_or_not_for_the_device_is_an_error(network):
    with pytest.raises(EngineError, match=re.escape("one of litert, tensorflow")):
        open_embedder(network, "cpu", engine="nosuch")
    gpu = replace(choose_device("cpu"), name="/GPU:0", description="GPU 0, a stand-in")
    with pytest.raises(EngineError, match=r"for GPU 0, a stand-in: tensorflow\. Rec.*litert"):
        open_embedder(network, gpu, engine="litert")


def test_names_in_the_registry_are_those_that_the_engines_state():
    for name, kind in ENGINES.items():
        module, _, attribute = kind.opens.partition(":")
        engine = getattr(__import__(module, fromlist=[attribute]), attribute)
        assert (kind.name, engine.name) == (name, name)
