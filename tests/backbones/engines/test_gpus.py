"""GPUs, by stand-ins: what TensorFlow answers where there is one, two, or none that it can use."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import trial_stand_in
from conftest import call

from pipeline.backbones.engines import device as device_module
from pipeline.backbones.engines import opening, tensorflow_graph, tensorflow_trial
from pipeline.backbones.engines.device import Device, choose_device, describe_cpu
from pipeline.backbones.engines.engine import Network
from pipeline.backbones.engines.opening import find_device, open_embedder, require_device
from pipeline.errors import DeviceError
from pipeline.features.feature_file import FeatureFile
from pipeline.recipe import EngineRecord
from pipeline.system import tensorflow_gpus

ROOT = Path(__file__).resolve().parents[3]
DETAILS = {"device_name": "NVIDIA H100 80GB HBM3", "compute_capability": (9, 0)}
A_GPU = Device("/GPU:0", "GPU 0, H100", "H100", "9.0")


def build_tiny():
    inputs = keras.Input((4, 4, 3))
    return keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))


NETWORK = Network(build_tiny)


class TensorFlowWithGpus:
    """`tf.config` of a machine with GPUs; once it runs it can be changed no more."""

    def __init__(self, monkeypatch, n_gpus):
        self.gpus = [f"physical {number}" for number in range(n_gpus)]
        self.visible, self.grows, self.is_running = list(self.gpus), [], False
        self.is_tf32 = True
        config = tf.config
        monkeypatch.setattr(config, "list_physical_devices", lambda kind=None: list(self.gpus))
        monkeypatch.setattr(config, "get_visible_devices", lambda kind=None: list(self.visible))
        monkeypatch.setattr(config, "set_visible_devices", self.show)
        experimental = config.experimental
        monkeypatch.setattr(experimental, "set_memory_growth", lambda gpu, on: self.grow(gpu))
        monkeypatch.setattr(experimental, "get_device_details", lambda gpu: DETAILS)
        monkeypatch.setattr(
            experimental,
            "enable_tensor_float_32_execution",
            lambda is_on: setattr(self, "is_tf32", is_on),
        )
        monkeypatch.setattr(device_module, "may_have_gpu", lambda: True)
        monkeypatch.setattr(device_module, "find_obstacle", lambda device: "")
        monkeypatch.setattr(tensorflow_gpus, "_is_hidden", [False])

    def show(self, gpus, kind):
        assert kind == "GPU"
        if self.is_running:
            raise RuntimeError("Visible devices cannot be modified after being initialized")
        self.visible = list(gpus)

    def grow(self, gpu):
        self.grows.append(gpu)


@pytest.fixture
def two_gpus(monkeypatch):
    return TensorFlowWithGpus(monkeypatch, 2)


def test_the_gpu_that_was_asked_for_is_the_only_one_that_tensorflow_sees(two_gpus):
    device = choose_device("gpu:1")
    assert two_gpus.visible == ["physical 1"]
    assert device.name == "/GPU:0"  # as TensorFlow calls the first that it sees
    assert device.description == "GPU 1, NVIDIA H100 80GB HBM3"
    assert device.asked_as == "gpu:1"
    assert two_gpus.grows == two_gpus.gpus


def test_on_the_cpu_tensorflow_sees_no_gpu_and_another_choice_may_follow(two_gpus):
    assert choose_device("cpu").kind == "cpu"
    assert two_gpus.visible == []
    assert choose_device("gpu").description.startswith("GPU 0")
    assert two_gpus.visible == ["physical 0"]


def test_mirrored_training_sees_all_gpus(two_gpus):
    assert choose_device("gpu:1", sees_others=True).number == 1
    assert len(two_gpus.visible) == 2


def test_where_tensorflow_runs_already_its_own_name_of_the_gpu_is_taken(two_gpus):
    two_gpus.is_running = True
    assert choose_device("gpu:1").name == "/GPU:1"
    two_gpus.visible = ["physical 1"]
    assert choose_device("gpu:1").name == "/GPU:0"
    with pytest.raises(DeviceError, match="runs in this process already, and without GPU 0"):
        choose_device("gpu:0")
    device = choose_device("auto")
    assert device.kind == "cpu"
    assert "runs in this process already" in device.notes[0]


def test_float32_is_float32_on_a_gpu(two_gpus):
    choose_device("gpu")
    assert not two_gpus.is_tf32


@pytest.mark.parametrize("precision", ["float32", "tf32", "mixed_bfloat16"])
def test_a_network_has_tf32_on_a_gpu_where_it_was_asked_for(two_gpus, precision):
    network = replace(NETWORK, precision=precision)
    open_embedder(network, choose_device("gpu"), engine="tensorflow", batch_size=1)
    assert two_gpus.is_tf32 is (precision == "tf32")


def test_on_a_cpu_tf32_is_float32_and_that_is_said_and_recorded(photos, tmp_path):
    outcome = call(
        *("extract", photos, "--backbone", "efficientnet-lite0", "--image-size", 32),
        *("--precision", "tf32", "--device", "cpu", "--output", tmp_path / "f.h5"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    words = " ".join(outcome.stderr.split())
    assert "Only GPUs have TF32; the CPU computes in float32." in words
    with FeatureFile(tmp_path / "f.h5") as file:
        assert file.contents.recipe.precision == "tf32"
        assert [engine.precision for engine in file.contents.engines] == ["float32"]


def test_a_gpu_that_was_asked_for_and_is_not_there_is_an_error(two_gpus):
    with pytest.raises(DeviceError, match=r"TensorFlow sees 2 GPU\(s\)\. Expected GPU 2"):
        choose_device("gpu:2")


PROGRAM = """
import json, sys
from pipeline.backbones.engines import device
device.may_have_gpu = lambda: True
assert device.choose_device("cpu").kind == "cpu"
assert "tensorflow" not in sys.modules

import numpy as np, tensorflow as tf
hidden, growing = [], []
config, experimental = tf.config, tf.config.experimental
real = [config.set_visible_devices, config.get_visible_devices, config.list_physical_devices]
config.set_visible_devices = lambda devices, kind: hidden.append([devices, kind])
config.get_visible_devices = config.list_physical_devices = lambda kind: ["a GPU"]
experimental.set_memory_growth = lambda gpu, on: growing.append([gpu, on])
from pipeline.system.keras_on_tensorflow import keras
config.set_visible_devices, config.get_visible_devices, config.list_physical_devices = real

(cpu,) = tf.config.list_physical_devices("CPU")
halves = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(cpu, halves)
from pipeline.backbones.engines.device import Device
from pipeline.backbones.engines.engine import Network
from pipeline.backbones.engines.tensorflow_graph import TensorFlowEngine
def build():
    inputs = keras.Input((4, 4, 3))
    return keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
network = Network(build)
engine = TensorFlowEngine(network, Device("/CPU:1", "the second half"), 2, 1, is_compiled=True)
rows = engine(np.ones((2, 4, 4, 3), np.uint8))
kernel, bias = network.model.get_weights()
print(json.dumps({
    "hidden": hidden,
    "growing": growing,
    "where": sorted({weight.value.device[-5:] for weight in network.model.weights}),
    "is right": bool(np.allclose(rows, kernel.sum(axis=0) + bias, rtol=1e-5)),
}))
"""


@pytest.fixture(scope="module")
def said():
    """Two logical devices, as two GPUs would be that TensorFlow sees."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_hides_gpus_before_tensorflow_is_imported_holds_once_it_is(said):
    assert said["hidden"] == [[[], "GPU"]]


def test_whatever_process_imports_keras_takes_gpu_memory_as_it_needs_it(said):
    """No module of the library has TensorFlow for its own use that does not import Keras so."""
    assert said["growing"] == [["a GPU", True]]
    for path in (ROOT / "pipeline").rglob("*.py"):
        words = path.read_text()
        if path.name == "snippets.py":  # of what runs elsewhere
            continue
        if re.search("^import tensorflow", words, re.MULTILINE):
            of_keras = r"system\.keras_on_tensorflow|classifier\.export\.whole_network"
            assert re.search(f"from pipeline\\.({of_keras}) import", words), path


def test_a_network_lies_on_the_device_that_was_chosen_and_computes_there(said):
    assert said["where"] == ["CPU:1"]
    assert said["is right"]


# What cannot be used.


def test_a_gpu_without_its_libraries_is_said_and_is_an_error_where_it_was_asked_for(monkeypatch):
    TensorFlowWithGpus(monkeypatch, 0)
    device = choose_device("auto")
    assert device.kind == "cpu"
    (note,) = device.notes
    assert "There is a GPU in this machine that TensorFlow cannot use" in note
    assert "pip install '.[gpu]'" in note
    with pytest.raises(DeviceError) as caught:
        choose_device("gpu")
    assert str(caught.value) == note.replace("device=auto", "device=gpu")


def test_a_gpu_that_is_too_new_for_the_build_is_not_taken_and_the_way_out_is_said(
    two_gpus, monkeypatch
):
    monkeypatch.setitem(DETAILS, "compute_capability", (12, 0))
    monkeypatch.setattr(device_module, "find_obstacle", tensorflow_trial.find_obstacle)
    names = ["sm_60", "sm_80", "sm_89", "compute_90"]
    build = {"cuda_compute_capabilities": names}
    monkeypatch.setattr(tf.sysconfig, "get_build_info", lambda: build)
    device = find_device("auto", "tensorflow")
    assert device.kind == "cpu"
    assert two_gpus.visible == []
    (note,) = device.notes
    words = " ".join(note.split())
    assert "GPU 0, NVIDIA H100 80GB HBM3: it has compute capability 12.0" in words
    assert f"TensorFlow {tf.__version__} has code up to 9.0" in words
    assert "pip install '.[jax]'" in words
    with pytest.raises(DeviceError) as caught:
        choose_device("gpu")
    assert str(caught.value) == note.replace("device=auto", "device=gpu")


@pytest.mark.parametrize(
    ("names", "newest"),
    [
        (["sm_60", "sm_80", "compute_90"], (9, 0)),
        (["sm_100a", "sm_89", "compute_120"], (12, 0)),
        ([], ()),
    ],
)
def test_what_a_build_has_code_for_is_read_from_its_names(names, newest):
    assert tensorflow_trial.find_newest(names) == newest


@pytest.mark.parametrize(
    ("trial", "reason"),
    [
        (trial_stand_in.compute_on_the_cpu, ""),
        (
            trial_stand_in.die,
            "a small compiled computation there failed, its process died of SIGABRT",
        ),
        (
            trial_stand_in.compute_wrongly,
            "a small compiled computation there failed, ArithmeticError: expected 14520, received "
            "14400",
        ),
    ],
)
def test_a_gpu_is_tried_in_a_child_before_anything_else(monkeypatch, tmp_path, trial, reason):
    monkeypatch.setenv("FROSTLINE_NETWORKS", str(tmp_path))
    tensorflow_trial._try.cache_clear()
    monkeypatch.setattr(tensorflow_trial, "compute_a_little", trial)
    monkeypatch.setattr(tf.sysconfig, "get_build_info", dict)
    assert tensorflow_trial.find_obstacle(replace(A_GPU, number=1)) == reason
    tensorflow_trial._try.cache_clear()


def test_a_gpu_that_passed_is_tried_again_only_with_another_driver(monkeypatch, tmp_path):
    driver, outcomes = tmp_path / "version", ["it died", "", "it died"]
    monkeypatch.setenv("FROSTLINE_NETWORKS", str(tmp_path / "networks"))
    monkeypatch.setattr(tensorflow_trial, "_DRIVER", driver)
    monkeypatch.setattr(tensorflow_trial, "_try", lambda number: outcomes.pop(0))
    monkeypatch.setattr(tf.sysconfig, "get_build_info", dict)
    driver.write_text("580.159")
    found = [tensorflow_trial.find_obstacle(A_GPU) for _ in range(4)]
    assert found == ["it died", "", "", ""]
    driver.write_text("590.1")
    assert tensorflow_trial.find_obstacle(A_GPU) == "it died"


def test_an_asked_for_gpu_that_is_not_there_is_an_error_even_when_nothing_is_to_compute(
    photos, tmp_path
):
    how = ("extract", photos, "--backbone", "efficientnet-lite0", "--image-size", 32)
    file = tmp_path / "f.h5"
    assert call(*how, "--output", file).exit_code == 0
    before = file.read_bytes()
    outcome = call(*how, "--output", file, "--device", "gpu:7")
    assert outcome.exit_code == 1
    assert re.search(r"GPU.*Expected", outcome.stderr, re.DOTALL)
    assert "--device gpu:7" in " ".join(outcome.stderr.split())
    assert file.read_bytes() == before


def test_processes_are_refused_on_a_gpu_with_the_reason(photos, monkeypatch, tmp_path):
    monkeypatch.setattr(opening, "find_device", lambda wanted, engine=None: A_GPU)
    for device in ("auto", "gpu"):
        outcome = call(
            *("extract", photos, "--backbone", "efficientnet-lite0", "--parallel", "processes"),
            *("--device", device, "--output", tmp_path / "f.h5"),
        )
        assert outcome.exit_code == 1
        words = " ".join(outcome.stderr.split())
        assert "Processes cannot share a GPU: each would keep a network of its own" in words
        assert f"--parallel processes and --device {device}" in words.replace("`", "")
    assert not list(tmp_path.glob("f*"))
    require_device("cpu", None, in_processes=True)


# Memory, and equal bits.


@pytest.fixture
def fits(monkeypatch):
    """Lets a stand-in for a GPU take batches up to a size; the others fail in the given words."""

    def limit(most, error):
        tried = []

        def trace(model, batch_size, device):
            def run(pixels):
                tried.append(batch_size)
                if batch_size > most:
                    raise error
                return tf.reduce_mean(tf.cast(pixels, tf.float32), (1, 2))

            return run

        monkeypatch.setattr(tensorflow_graph, "trace", trace)
        return tried

    return limit


WORDS = (
    tf.errors.ResourceExhaustedError(None, None, "Out of memory while trying to allocate 9 bytes"),
    tf.errors.FailedPreconditionError(None, None, "DNN library initialization failed. Look at it."),
    tf.errors.UnknownError(None, None, "Failed to determine best cudnn convolution algorithm for"),
)


@pytest.mark.parametrize("error", WORDS, ids=lambda error: type(error).__name__)
def test_a_batch_that_does_not_fit_is_halved_twice_said_and_recorded(fits, error):
    tried = fits(32, error)
    embed = open_embedder(NETWORK, A_GPU, engine="tensorflow")
    assert tried == [128, 64, 32]
    assert embed.batch_size == embed.record.batch_size == 32
    assert (
        "A batch of 128 images does not fit the device's memory; batches of 32 are computed "
        "instead." in embed.notes
    )
    pixels = np.arange(40 * 48, dtype=np.uint8).reshape(40, 4, 4, 3)
    np.testing.assert_allclose(embed(pixels), pixels.mean(axis=(1, 2)), rtol=1e-5)


@pytest.mark.parametrize("error", WORDS, ids=lambda error: type(error).__name__)
def test_a_quarter_that_does_not_fit_is_an_error_with_the_next_size(fits, error):
    tried = fits(16, error)
    with pytest.raises(DeviceError, match=r"`batch_size=32`\nTry `batch_size=16`"):
        open_embedder(NETWORK, A_GPU, engine="tensorflow")
    assert tried == [128, 64, 32]


def test_another_error_halves_nothing(fits):
    tried = fits(0, tf.errors.InvalidArgumentError(None, None, "no such layout"))
    with pytest.raises(tf.errors.InvalidArgumentError):
        open_embedder(NETWORK, A_GPU, engine="tensorflow", batch_size=64)
    assert tried == [64]


@pytest.mark.parametrize("is_fast", [False, True])
def test_equal_rows_in_every_process_are_asked_of_the_compiler_unless_fast(monkeypatch, is_fast):
    """XLA itself reads the setting here, and ends the process where it does not know it."""
    monkeypatch.setenv("XLA_FLAGS", "")
    seen = []
    trace = tensorflow_graph.trace

    def trace_and_look(*arguments):
        seen.append(os.environ["XLA_FLAGS"])
        return trace(*arguments)

    monkeypatch.setattr(tensorflow_graph, "trace", trace_and_look)
    network = replace(NETWORK, is_fast=is_fast)
    embed = open_embedder(network, A_GPU, engine="tensorflow", batch_size=2)
    assert seen == ["" if is_fast else "--xla_gpu_deterministic_ops=true"]
    assert os.environ["XLA_FLAGS"] == ""
    assert embed.record.is_fast is is_fast
    assert embed(np.full((1, 4, 4, 3), 7, np.uint8)).tolist() == [[7, 7, 7]]


def test_rows_of_fast_kernels_are_known_as_such_and_older_versions_read_the_others():
    plain, fast = EngineRecord("tensorflow"), EngineRecord("tensorflow", is_fast=True)
    assert not plain.computes_like(fast)
    assert EngineRecord.from_json(fast.to_json()) == fast
    assert "is_fast" not in plain.to_json()


def test_the_cpu_is_never_fast():
    record = open_embedder(replace(NETWORK, is_fast=True), describe_cpu()).record
    assert (record.device, record.is_fast) == ("cpu", False)
