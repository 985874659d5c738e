"""The engines: one network, the same features; and what is said where one cannot run it."""

import importlib
import re
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from networks import recipe_of

from pipeline.backbones.build import build_embedding_model
from pipeline.backbones.engines import device as device_module
from pipeline.backbones.engines import openvino_cpu
from pipeline.backbones.engines.device import choose_device, describe_cpu, read_cpu_model
from pipeline.backbones.engines.embedder import Embedder
from pipeline.backbones.engines.engine import CannotRunError, Engine, Network
from pipeline.backbones.engines.opening import open_embedder
from pipeline.backbones.engines.registry import ENGINES
from pipeline.backbones.registry import get_backbone
from pipeline.backbones.weights.resolve import resolve_weights
from pipeline.errors import EngineError
from pipeline.system.parallel import map_batches

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


def test_each_engine_gives_what_keras_gives(model, network):
    expected = np.asarray(model(PIXELS.astype(np.float32)))
    greatest = np.abs(expected).max()
    assert greatest > 1
    device = choose_device("cpu")
    for name in ("openvino", "tensorflow"):
        for batch_size in (1, 2):
            embed = open_embedder(network, device, engine=name, batch_size=batch_size)
            assert np.abs(embed(PIXELS) - expected).max() <= 1e-5 * greatest
    assert open_embedder(network, device).record.name == "openvino"


def test_bfloat16_is_as_near_as_eight_bits_can_be(model):
    """Where the processor has no units for it, float32 is computed and that is said."""
    expected = np.asarray(model(PIXELS.astype(np.float32)))
    embed = open_embedder(Network(lambda: model, "mixed_bfloat16"), "cpu")
    features = embed(PIXELS)
    cosines = (features * expected).sum(1) / np.linalg.norm(features, axis=1)
    assert (cosines / np.linalg.norm(expected, axis=1)).min() > 0.995
    has_units = embed.record.precision == "mixed_bfloat16"
    assert has_units == (np.abs(features - expected).max() > 1e-4)
    assert has_units == (not any("no units for bfloat16" in note for note in embed.notes))


@pytest.mark.parametrize(
    "precision", ["mixed_bfloat16", pytest.param("float32", marks=pytest.mark.slow)]
)
def test_equal_images_give_equal_bits_alone_in_any_batch_and_on_any_stream(model, precision):
    network = Network(lambda: model, precision)
    pixels = np.random.default_rng(1).integers(0, 256, (11, 32, 32, 3), np.uint8)
    alone = open_embedder(network, "cpu", batch_size=1, n_streams=1)
    expected = np.concatenate([alone(image[None]) for image in pixels])
    order = np.random.default_rng(2).permutation(11)
    for batch_size, n_streams in ((None, None), (3, 3), (8, 1)):
        embed = open_embedder(network, "cpu", batch_size=batch_size, n_streams=n_streams)
        found = np.concatenate(
            list(map_batches(embed, [pixels[order[:7]], pixels[order[7:]]] * 3, 3))
        )
        assert np.array_equal(found.reshape(3, 11, -1), np.stack([expected[order]] * 3))


def test_fewer_images_than_a_batch_do_not_cost_a_batch(network, monkeypatch):
    embed = open_embedder(network, "cpu", batch_size=4)
    monkeypatch.setattr(openvino_cpu.OpenVINOEngine, "_take_whole", refuse)
    assert embed(PIXELS[:1]).shape == (1, 1280)
    with pytest.raises(CannotRunError):
        embed(np.repeat(PIXELS[:1], 4, 0))


def test_where_a_batch_has_other_bits_than_an_image_alone_batches_are_padded(network, monkeypatch):
    """A stand-in for such a processor: the network for one image is off by one."""
    engine = openvino_cpu.OpenVINOEngine(network, describe_cpu(), 4, 2)
    run_one = engine._one

    class Off:
        image_shape = run_one.image_shape

        def __call__(self, pixels):
            return run_one(pixels) + 1

    engine._one = Off()
    padded = Embedder(engine)
    whole = padded(np.repeat(PIXELS[:1], 4, 0))
    assert np.array_equal(padded(PIXELS[:1]), whole[:1])
    assert np.array_equal(padded(PIXELS[[1, 0, 2]])[1], whole[0])


def test_batches_take_the_way_that_is_faster_after_all_had_equally_many_turns():
    """A clock that the ways set forward themselves: single images cost 3, a batch 2 seconds."""
    now, calls = 0.0, []

    def way(name, seconds):
        def run(pixels):
            nonlocal now
            now += seconds
            calls.append(name)
            return pixels

        return run

    for first, second, winner in ((2.0, 3.0, "first"), (3.0, 2.0, "second"), (2.0, 2.0, "first")):
        calls.clear()
        run = openvino_cpu.FasterWay((way("first", first), way("second", second)), 2, lambda: now)
        for _ in range(40):
            assert run(PIXELS) is PIXELS
        trials, rest = calls[:24], calls[24:]
        assert trials == ["first", "first", "second", "second"] * 6
        assert set(rest) == {winner}


def test_whichever_way_batches_take_their_rows_have_the_same_bits(network):
    """The trial, and after it both outcomes."""
    pixels = np.random.default_rng(3).integers(0, 256, (4, 32, 32, 3), np.uint8)
    engine = openvino_cpu.OpenVINOEngine(network, describe_cpu(), 2, 2)
    expected = np.concatenate([engine(image[None]) for image in pixels])
    batches = [pixels[:2], pixels[2:]]
    found = list(map_batches(engine, batches * 15, 2))
    assert isinstance(engine._run_batch, openvino_cpu.FasterWay)
    for way in (0, 1):
        engine._run_batch._fastest = way
        found += map_batches(engine, batches * 2, 2)
    assert np.array_equal(np.concatenate(found), np.tile(expected, (19, 1)))


def test_what_would_be_faster_is_measured_and_said(network, monkeypatch):
    monkeypatch.setattr(openvino_cpu, "has_bfloat16", lambda: True)
    engine = openvino_cpu.OpenVINOEngine(network, describe_cpu(), 2, 1)
    rows = engine(PIXELS[:2])
    rates = iter([10.0, 23.0, 10.0, 14.9])
    monkeypatch.setattr(openvino_cpu, "measure_rate", lambda *_: next(rates))
    (advice,) = engine.advise()
    assert "`precision='bfloat16'` runs this network 2.3 times as fast" in advice
    assert engine.advise() == []
    assert np.array_equal(engine(PIXELS[:2]), rows)


def test_batches_a_second_are_those_of_processor_time():
    class Spins:
        image_shape = (1, 1, 3)

        def __call__(self, pixels):
            assert pixels.shape == (2, 1, 1, 3)
            start = time.thread_time()
            while time.thread_time() - start < 0.01:
                pass
            time.sleep(0.005)
            return pixels

    assert 50 < openvino_cpu.measure_rate(Spins(), batch_size=2, n_streams=2) <= 100


def test_the_record_says_what_computes(network):
    record = open_embedder(network, describe_cpu(), batch_size=2, n_streams=3).record
    assert record.name == "openvino"
    assert record.version.startswith(version("openvino"))
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
    monkeypatch.setattr(device_module, "may_have_gpu", lambda: True)
    monkeypatch.setattr(device_module, "find_obstacle", lambda device: "")
    monkeypatch.setattr(device_module, "show_gpus", lambda gpus: True)
    device = choose_device("auto")
    assert (device.kind, device.model, device.compute_capability) == (
        "gpu", "NVIDIA H100 80GB HBM3", "9.0",
    )  # fmt: skip
    assert device.description == "GPU 0, NVIDIA H100 80GB HBM3"
    assert (device.batch_size, choose_device("cpu").batch_size) == (128, 4)


def test_tensorflow_is_set_up_for_embedding_only_where_nothing_else_runs(network, monkeypatch):
    calls = []
    monkeypatch.setattr(device_module, "use_one_thread_per_operation", lambda: calls.append(1))
    open_embedder(network, "cpu", engine="tensorflow")
    open_embedder(network, "cpu", is_alone=True)  # not with TensorFlow
    assert calls == []
    open_embedder(network, "cpu", engine="tensorflow", is_alone=True)
    assert calls == [1]


def test_a_machine_without_a_sign_of_a_gpu_does_not_start_tensorflow_to_look_for_one():
    code = (
        "import sys\n"
        "from pipeline.backbones.engines import device\n"
        "device._GPU_NODES = ()\n"
        "print(device.choose_device('auto').kind, device.choose_device('cpu').kind)\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["cpu", "cpu"]), done.stderr


def test_signs_of_a_gpu(tmp_path, monkeypatch):
    node = tmp_path / "nvidiactl"
    monkeypatch.setattr(device_module, "_GPU_NODES", (node,))
    monkeypatch.setattr(device_module.platform, "system", lambda: "Linux")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert not device_module.may_have_gpu()
    node.touch()
    assert device_module.may_have_gpu()
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert not device_module.may_have_gpu()


def test_a_network_that_the_first_engine_cannot_run_is_run_by_the_next_and_built_once(
    model, monkeypatch
):
    monkeypatch.setattr(openvino_cpu, "convert_to_openvino", refuse)
    built = []
    network = Network(lambda: built.append(model) or model)
    embed = open_embedder(network, choose_device("cpu"))
    assert embed.record.name == "tensorflow"
    assert embed.notes[1:] == [
        "OpenVINO cannot run this network (no such operation); TensorFlow does, more slowly."
    ]
    assert len(built) == 1


def test_an_engine_that_was_asked_for_and_cannot_is_an_error_not_another(network, monkeypatch):
    monkeypatch.setattr(openvino_cpu, "convert_to_openvino", refuse)
    with pytest.raises(EngineError, match=r"OpenVINO cannot run.*no such op.*`engine=openvino`"):
        open_embedder(network, choose_device("cpu"), engine="openvino")


def test_an_engine_that_is_not_there_or_not_for_the_device_is_an_error(network):
    with pytest.raises(EngineError, match=re.escape("one of openvino, tensorflow")):
        open_embedder(network, "cpu", engine="nosuch")
    gpu = replace(choose_device("cpu"), name="/GPU:0", description="GPU 0, a stand-in")
    with pytest.raises(EngineError, match=r"for GPU 0, a stand-in: tensorflow\. Rec.*openvino"):
        open_embedder(network, gpu, engine="openvino")


def test_names_in_the_registry_are_those_that_the_engines_state():
    for name, kind in ENGINES.items():
        module, _, attribute = kind.opens.partition(":")
        engine = getattr(__import__(module, fromlist=[attribute]), attribute)
        assert (kind.name, engine.name) == (name, name)


@pytest.mark.parametrize("kind", ENGINES.values(), ids=list(ENGINES))
def test_every_engine_has_all_that_is_called_of_one(kind):
    """They are looked up by name, where no type checker sees what is missing."""
    module, _, name = kind.opens.partition(":")
    engine = getattr(importlib.import_module(module), name)
    methods = [name for name, value in vars(Engine).items() if callable(value)]
    assert {"__call__", "advise"} <= {*methods}
    missing = [name for name in methods if not name.startswith("_") and not hasattr(engine, name)]
    assert not missing
