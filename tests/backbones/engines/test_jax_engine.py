"""The JAX engine where no JAX is needed: which device `auto` takes, and the child's protocol."""

import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import jax_stand_in
import numpy as np
import pytest
from conftest import call
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jax_stand_in import DEATH, FAILURE, NO_MEMORY, SIDE, sums_of, write_package
from networks import recipe_of

from benchmarks.stand_in import RECIPE
from pipeline.backbones.engines import device as device_module
from pipeline.backbones.engines import jax_engine, jax_process
from pipeline.backbones.engines.device import Device, describe_cpu, tells_of_memory
from pipeline.backbones.engines.embedder import Embedder
from pipeline.backbones.engines.engine import CannotRunError, Network
from pipeline.backbones.engines.jax_engine import JaxEngine
from pipeline.backbones.engines.jax_process import JaxJob
from pipeline.backbones.engines.opening import find_device, open_embedder
from pipeline.backbones.engines.recipe_network import describe_network
from pipeline.backbones.engines.registry import ENGINES
from pipeline.errors import DeviceError, EngineError, MissingExtraError
from pipeline.features import compute_missing
from pipeline.features.feature_file import FeatureFile
from pipeline.features.update import update_features
from pipeline.images.dataset import scan_dataset
from pipeline.images.decoding.read_images import read_images
from pipeline.system.child_process import ChildFailedError

GPU = Device("/GPU:0", "GPU 0, a stand-in, with JAX", "a stand-in", "9.0", seen_by="jax")
NETWORK = Network(int)  # the stand-in builds nothing


@pytest.fixture
def jax_package(tmp_path, monkeypatch):
    """Puts a package `jax` of some code where this process and its children find it, on a machine
    that has a sign of a GPU and a TensorFlow that sees none.
    """
    monkeypatch.setattr(jax_engine, "may_have_gpu", lambda: True)
    monkeypatch.setattr(device_module, "may_have_gpu", lambda: False)
    for name in ("jax", "jax_plugins"):
        monkeypatch.delitem(sys.modules, name, raising=False)

    def install(code: str) -> None:
        monkeypatch.syspath_prepend(write_package(tmp_path / "packages", code))

    jax_engine._ask_for_gpus.cache_clear()
    yield install
    jax_engine._ask_for_gpus.cache_clear()


@pytest.fixture
def no_jax(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "jax" else find(name, *rest),
    )


@pytest.fixture
def stand_in(monkeypatch):
    """Lets a child without JAX answer; the argument says which."""
    monkeypatch.setattr(jax_engine, "require_jax", lambda: None)

    def use(serve=jax_stand_in.serve_sums):
        monkeypatch.setattr(jax_engine, "serve", serve)

    use()
    return use


SEES_TWO = """
    from types import SimpleNamespace
    def devices(kind):
        assert kind == "gpu"
        return [SimpleNamespace(device_kind=f"Card {n}", compute_capability="12.0") for n in "ab"]
"""
CANNOT_START = """
    def devices(kind):
        raise RuntimeError("Unable to initialize backend 'cuda': the driver is too old.\\nMore")
"""
CANNOT_BE_IMPORTED = "raise ImportError('libcudart.so.13 is missing')"


def test_auto_takes_the_gpu_that_jax_sees_where_tensorflow_sees_none(jax_package):
    jax_package(SEES_TWO)
    device = find_device("auto")
    assert (device.description, device.compute_capability) == ("GPU 0, Card a, with JAX", "12.0")
    assert [name for name, kind in ENGINES.items() if kind.serves(device)] == ["jax"]
    assert find_device("gpu:1").model == "Card b"
    with pytest.raises(DeviceError, match=r"JAX sees 2 GPU\(s\)\. Expected GPU 2"):
        find_device("gpu:2")


def test_the_cpu_is_taken_without_asking_jax_where_it_was_asked_for(jax_package):
    jax_package(SEES_TWO)
    for engine in (None, "openvino", "jax"):
        assert find_device("cpu", engine) == describe_cpu()
    assert find_device("auto", "openvino") == describe_cpu()  # JAX's GPU is of no use to it


def test_a_gpu_that_tensorflow_sees_is_taken_without_asking_jax(jax_package, monkeypatch):
    jax_package(CANNOT_BE_IMPORTED)
    seen = Device("/GPU:0", "GPU 0, T4")
    monkeypatch.setattr(device_module, "choose_device", lambda wanted: seen)
    assert find_device("auto") == seen
    assert [name for name, kind in ENGINES.items() if kind.serves(seen)] == ["tensorflow"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (CANNOT_START, "JAX sees no GPU: Unable to initialize backend 'cuda': the driver is too "
         "old."),
        (CANNOT_BE_IMPORTED, "JAX cannot say which GPUs there are. Expected: an answer from a "
         "process that starts it. Received: ImportError: libcudart.so.13 is missing"),
    ],
)  # fmt: skip
def test_auto_says_what_keeps_jax_from_a_gpu_and_takes_the_cpu(jax_package, code, said):
    jax_package(code)
    device = find_device("auto")
    (note,) = device.notes
    assert note.startswith(said)
    assert replace(device, notes=()) == describe_cpu()
    engine = SimpleNamespace(
        name="", version="", device=device, precision="", batch_size=1, n_streams=1, n_features=1,
        notes=["of the engine"],
    )  # fmt: skip
    assert Embedder(engine).notes == [f"Computing on {device.description}.", note, "of the engine"]


def test_extract_says_what_keeps_jax_from_a_gpu(jax_package, photos, tmp_path):
    jax_package(CANNOT_START)
    outcome = call(
        *("extract", photos, "--backbone", "efficientnet-lite0", "--image-size", 32),
        *("--output", tmp_path / "f.h5"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert "JAX sees no GPU: Unable to initialize backend 'cuda'" in " ".join(
        outcome.stderr.split()
    )


def test_where_no_library_sees_the_gpu_that_was_asked_for_each_says_why(jax_package):
    jax_package(CANNOT_START)
    with pytest.raises(DeviceError) as caught:
        find_device("gpu")
    text = str(caught.value)
    assert "TensorFlow sees 0 GPU(s)" in text
    assert "JAX sees 0 GPU(s): Unable to initialize backend 'cuda': the driver is too old" in text


def test_jax_is_asked_for_no_gpu_where_there_is_no_sign_of_one(jax_package, monkeypatch):
    jax_package(CANNOT_BE_IMPORTED)
    monkeypatch.setattr(jax_engine, "may_have_gpu", lambda: False)
    assert find_device("auto") == describe_cpu()


def test_without_jax_the_error_names_the_extra_and_auto_says_nothing(no_jax, photos):
    assert find_device("auto") == describe_cpu()
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[jax\]'"):
        open_embedder(NETWORK, "cpu", engine="jax")
    outcome = call(
        *("extract", photos, "--backbone", "efficientnet-lite0", "--engine", "jax"),
        *("--output", "f.h5"),
    )
    assert outcome.exit_code == 1
    assert "Received: --engine jax, and no JAX" in " ".join(outcome.stderr.split())
    assert "leave --engine out" in " ".join(outcome.stderr.split())


def test_predict_and_evaluate_take_an_engine(no_jax, fitted):
    photos = fitted.parent / "photos"
    for command in (["predict", fitted, photos], ["evaluate", fitted, photos]):
        outcome = call(*command, "--engine", "jax")
        assert outcome.exit_code == 1
        assert "Received: --engine jax, and no JAX" in " ".join(outcome.stderr.split())
        outcome = call(*command, "--engine", "nosuch")
        assert outcome.exit_code == 1
        assert "Expected one of openvino, tensorflow, jax" in " ".join(outcome.stderr.split())
    outcome = call("predict", fitted, photos / "red" / "000.png", "--engine", "tensorflow")
    assert outcome.exit_code == 0, outcome.stderr


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(0, 2**32 - 1))
def test_each_caller_gets_the_rows_of_its_own_images(adding, sizes, seed):
    """However many images are embedded by however many threads at once."""
    random = np.random.default_rng(seed)
    batches = [random.integers(0, 251, (n, SIDE, SIDE, 3), np.uint8) for n in sizes]
    with ThreadPoolExecutor(4) as pool:
        for pixels, rows in zip(batches, pool.map(adding, batches), strict=True):
            assert np.array_equal(rows, sums_of(pixels))


@pytest.fixture(scope="module")
def adding():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax_engine, "require_jax", lambda: None)
        patch.setattr(jax_engine, "serve", jax_stand_in.serve_sums)
        yield Embedder(JaxEngine(NETWORK, GPU, 8, 2))


def test_a_batch_that_was_halved_is_said_and_recorded(stand_in):
    embed = open_embedder(NETWORK, GPU, batch_size=128)
    assert embed.notes == [
        "Computing on GPU 0, a stand-in, with JAX.",
        "The engine is JAX 0.0.",
        "A batch of 128 images does not fit the device's memory; batches of 64 are computed "
        "instead.",
    ]
    record = embed.record
    assert (record.name, record.version, record.batch_size) == ("jax", "0.0", 64)
    assert (record.device_name, record.compute_capability) == ("a stand-in", "9.0")


def pixels_that_begin_with(value: int) -> np.ndarray:
    return np.full((2, SIDE, SIDE, 3), value, np.uint8)


def test_what_goes_wrong_with_a_batch_is_said_and_the_next_batch_is_computed(stand_in):
    engine = JaxEngine(NETWORK, GPU, 2, 1)
    with pytest.raises(DeviceError, match=r"batch of 2 images.*\n.*`batch_size=1`"):
        engine(pixels_that_begin_with(NO_MEMORY))
    with pytest.raises(ChildFailedError, match="the stand-in stumbles"):
        engine(pixels_that_begin_with(FAILURE))
    assert np.array_equal(engine(pixels_that_begin_with(3))[:, 1], [3, 3])


def test_an_extraction_that_takes_long_enough_for_advice_ends_well(
    stand_in, photos, tmp_path, monkeypatch
):
    """JAX had none to give, which ended every extraction of 20 seconds and more."""
    monkeypatch.setattr(compute_missing, "_ADVISE_AFTER_SECONDS", 0.0)
    recipe = replace(RECIPE, image_size=SIDE)
    summary = update_features(
        scan_dataset(photos),
        recipe,
        tmp_path / "f.h5",
        lambda batch_size: Embedder(JaxEngine(NETWORK, describe_cpu(), batch_size)),
    )
    assert summary.computed == summary.n_images > 0
    with FeatureFile(tmp_path / "f.h5") as file:
        images = [photos / path for path in file.contents.images.paths]
        pixels = np.stack([decoded for _, decoded in read_images(images, recipe)])
        np.testing.assert_array_equal(file.read_all(), sums_of(pixels))


def test_a_child_that_is_killed_is_an_error_for_all_who_wait_and_for_all_who_come(stand_in):
    engine = JaxEngine(NETWORK, GPU, 2, 1)
    for value in (DEATH, 3):
        with pytest.raises(EngineError, match=r"JAX computes ended early.*died of SIGKILL"):
            engine(pixels_that_begin_with(value))


@pytest.mark.parametrize(
    ("serve", "kind", "text"),
    [
        (jax_stand_in.serve_no_memory, DeviceError, "Not enough memory for a batch of 8 images"),
        (jax_stand_in.serve_cannot, EngineError, r"JAX cannot run this network \(NotImplem"),
        (jax_stand_in.serve_nothing, EngineError, "JAX computes ended early"),
    ],
)
def test_a_child_that_does_not_get_ready_says_why(stand_in, serve, kind, text):
    stand_in(serve)
    with pytest.raises(kind, match=text):
        open_embedder(NETWORK, GPU, engine="jax", batch_size=8)


def test_networks_that_another_process_cannot_build_are_refused(stand_in):
    with pytest.raises(CannotRunError, match="only in this process"):
        JaxEngine(Network(lambda: None), GPU)
    preset = replace(recipe_of("efficientnet-lite0", "random:0"), backbone="hub:vit_tiny")
    with pytest.raises(CannotRunError, match="need TensorFlow"):
        JaxEngine(replace(NETWORK, recipe=preset), GPU)
    recipe = recipe_of("efficientnet-lite0", "random:0")
    JaxEngine(describe_network(recipe, "random"), GPU)


class FakeRuntimeError(Exception):
    """Stands in for JAX's."""


@pytest.fixture
def compile_up_to(monkeypatch):
    """Compiles batches of so many images at most; others raise an error of that text."""
    errors = SimpleNamespace(JaxRuntimeError=FakeRuntimeError)
    monkeypatch.setitem(sys.modules, "jax", SimpleNamespace(errors=errors))
    tried: list[int] = []

    def use(most: int, text: str) -> list[int]:
        def compile_network(model, batch_size, precision, device):
            tried.append(batch_size)
            if batch_size > most:
                raise FakeRuntimeError(text)
            return f"a run of {batch_size}"

        monkeypatch.setattr(jax_process, "compile_network", compile_network)
        return tried

    return use


JOB = JaxJob(int, "float32", "gpu", 0, 1024, 0, is_deterministic=True)


def test_a_batch_that_does_not_fit_is_halved_twice_at_most(compile_up_to):
    tried = compile_up_to(300, jax_stand_in.TEXT_OF_AN_H200)
    assert jax_process._compile_what_fits(None, JOB, None) == (256, "a run of 256")
    assert tried == [1024, 512, 256]
    with pytest.raises(DeviceError, match=r"batch of 1 images.*\n.*smaller image size"):
        compile_up_to(0, jax_stand_in.TEXT_OF_AN_H200)
        jax_process._compile_what_fits(None, replace(JOB, batch_size=1), None)


def test_a_quarter_that_does_not_fit_is_an_error_that_names_the_next_size(compile_up_to):
    compile_up_to(200, jax_stand_in.TEXT_OF_AN_H200)
    with pytest.raises(DeviceError, match=r"`batch_size=256`\nTry `batch_size=128`"):
        jax_process._compile_what_fits(None, JOB, None)


def test_an_error_that_is_not_for_want_of_memory_halves_nothing(compile_up_to):
    tried = compile_up_to(0, "INVALID_ARGUMENT: no such layout")
    with pytest.raises(FakeRuntimeError, match="no such layout"):
        jax_process._compile_what_fits(None, JOB, None)
    assert tried == [1024]


@pytest.mark.parametrize(
    "text",
    [
        f"JaxRuntimeError: {jax_stand_in.TEXT_OF_AN_H200}",  # an H200's, JAX 0.11
        "CUDA_ERROR_OUT_OF_MEMORY: out of memory",  # CUDA's, XLA's and cuDNN's sources
        "FAILED_PRECONDITION: DNN library initialization failed. Look at the errors above",
        "UNKNOWN: Failed to determine best cudnn convolution algorithm for: ...",
        "INTERNAL: CUDNN_STATUS_ALLOC_FAILED",
    ],
)
def test_errors_for_want_of_memory_are_known(text):
    assert tells_of_memory(text)


@pytest.mark.parametrize("text", ["INTERNAL: ptxas exited with 255", "INVALID_ARGUMENT: shapes"])
def test_other_errors_are_not_taken_for_want_of_memory(text):
    assert not tells_of_memory(text)
