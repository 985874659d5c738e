"""Compiled networks in the store: the same bits, for this processor alone, and only this user's."""

import gc
import os
import shutil
import weakref
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipeline.backbones.engines import openvino_compiled, openvino_cpu
from pipeline.backbones.engines.device import describe_cpu
from pipeline.backbones.engines.engine import Network
from pipeline.backbones.engines.network_store import ConvertedNetwork, NetworkStore
from pipeline.backbones.engines.openvino_cpu import OpenVINOEngine
from pipeline.system import disk
from pipeline.system.openvino_runtime import openvino

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3), np.uint8)
WEIGHTS = np.random.default_rng(1).normal(0, 0.01, (108, 7)).astype(np.float32)
NO_MODEL = partial(pytest.fail, "the network was built")


def make_converted(network=None) -> ConvertedNetwork:
    """A product of all pixels, whose features numpy knows, too."""
    op = openvino.opset13
    image = op.parameter([-1, 6, 6, 3], np.uint8)
    flat = op.reshape(op.convert(image, "f32"), [0, -1], special_zero=True)
    model = openvino.Model([op.matmul(flat, WEIGHTS, False, False)], [image])
    openvino.save_model(model, "product.xml", compress_to_fp16=False)
    return ConvertedNetwork(Path("product.xml").read_bytes(), Path("product.bin").read_bytes(), 7)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(openvino_cpu, "convert_to_openvino", make_converted)
    return NetworkStore(tmp_path / "networks", tmp_path / "secret")


@pytest.fixture
def compilations(monkeypatch):
    """How each compilation was asked for; what the store gives is none."""
    ways = []
    compile_it = openvino_compiled.ReadNetwork.compile

    def count(network, way):
        ways.append(way)
        return compile_it(network, way)

    monkeypatch.setattr(openvino_compiled.ReadNetwork, "compile", count)
    return ways


def open_engine(store, precision="float32", batch_size=2, n_streams=2):
    network = Network(NO_MODEL, precision, identity="product", store=store)
    return OpenVINOEngine(network, describe_cpu(), batch_size, n_streams)


def embed(engine) -> np.ndarray:
    return np.concatenate([engine(PIXELS[:2]), engine(PIXELS[2:4]), engine(PIXELS[4:])])


def compiled_files(store) -> list[Path]:
    return [kept.path for kept in store.list() if "compiled for" in (kept.identity or "")]


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_the_second_start_compiles_nothing_and_gives_the_same_bits(store, compilations, precision):
    first = open_engine(store, precision)
    rows = embed(first)
    expected = PIXELS.reshape(5, -1) @ WEIGHTS
    digits = 1e-5 if first.precision == "float32" else 0.02
    np.testing.assert_allclose(rows, expected, atol=digits * np.abs(expected).max())
    assert [way.batch_size for way in compilations] == [1, 2]
    assert len(compiled_files(store)) == 2
    second = open_engine(store, precision)
    assert second.n_features == 7
    np.testing.assert_array_equal(embed(second), rows)
    assert len(compilations) == 2
    assert second.notes == first.notes


def test_the_first_row_needs_no_converted_network(store, compilations):
    rows = open_engine(store)(PIXELS[:1])
    (compiled,) = compiled_files(store)
    for kept in store.list():
        if kept.path != compiled:
            kept.path.unlink()
    np.testing.assert_array_equal(open_engine(store)(PIXELS[:1]), rows)
    assert len(compilations) == 1


def test_no_engine_keeps_the_model_that_it_was_converted_from(store):
    network = Network(NO_MODEL, identity="product", store=store)
    seen = weakref.ref(network)
    engine = OpenVINOEngine(network, describe_cpu(), 2, 2)
    del network
    gc.collect()
    assert seen() is None
    assert engine(PIXELS[:2]).shape == (2, 7)


def test_an_engine_that_is_let_go_gives_its_memory_back_at_once(store):
    engine = open_engine(store)
    engine(PIXELS[:2])
    seen = weakref.ref(engine)
    gc.disable()
    try:
        del engine
        assert seen() is None
    finally:
        gc.enable()


def test_what_was_compiled_for_other_circumstances_is_not_used(store, compilations, monkeypatch):
    open_engine(store)
    open_engine(store, n_streams=1)
    assert len(compilations) == 2
    with monkeypatch.context() as patch:
        patch.setattr(openvino_compiled, "identify_processor", lambda: "another processor")
        open_engine(store)
        assert len(compilations) == 3
    with monkeypatch.context() as patch:
        patch.setattr(openvino, "get_version", lambda: "2026.4.2-another-build")
        open_engine(store)
        assert len(compilations) == 4
    open_engine(store)
    open_engine(store, n_streams=1)
    assert len(compilations) == 4


def test_processors_of_one_name_and_other_instruction_sets_differ(tmp_path, monkeypatch):
    facts = tmp_path / "cpuinfo"
    monkeypatch.setattr(openvino_compiled, "_CPU_FACTS", facts)
    names = set()
    for flags in ("fpu avx2", "fpu avx2 avx512_bf16"):
        facts.write_text(
            f"processor : 0\nmodel name : AMD EPYC\nflags : {flags}\n\nprocessor : 1\n"
        )
        openvino_compiled.identify_processor.cache_clear()
        names.add(openvino_compiled.identify_processor())
    openvino_compiled.identify_processor.cache_clear()
    assert len(names) == 2


@pytest.mark.parametrize("place", [0, 30, 500, -1])
def test_a_damaged_copy_is_said_and_compiled_anew(store, compilations, place):
    rows = open_engine(store)(PIXELS[:1])
    (path,) = compiled_files(store)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    engine = open_engine(store)
    np.testing.assert_array_equal(engine(PIXELS[:1]), rows)
    (note,) = engine.notes
    assert "damaged, or not this user's own" in note
    assert str(path) in note
    assert len(compilations) == 2
    assert open_engine(store).notes == []
    assert len(compilations) == 2


def test_a_copy_that_somebody_else_planted_is_not_used(store, compilations, tmp_path):
    """It is whole and of the right name, and sealed with another user's secret."""
    rows = open_engine(store)(PIXELS[:1])
    (path,) = compiled_files(store)
    theirs = NetworkStore(tmp_path / "theirs", tmp_path / "their-secret")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "WEIGHTS", -WEIGHTS)
        assert not np.array_equal(open_engine(theirs)(PIXELS[:1]), rows)
    shutil.copy(theirs.folder / path.name, path)
    engine = open_engine(store)
    np.testing.assert_array_equal(engine(PIXELS[:1]), rows)
    assert "not this user's own" in engine.notes[0]


def test_a_damaged_converted_network_is_said_too(store):
    open_engine(store)
    for kept in store.list():
        kept.path.write_bytes(kept.path.read_bytes()[:-1])
    notes = open_engine(store).notes
    assert len(notes) == 2
    assert all("It was not used, but made anew" in note for note in notes)


def test_a_copy_that_openvino_refuses_is_said_and_compiled_anew(store, compilations, monkeypatch):
    """Sealed by this user, but not what this OpenVINO reads."""
    with monkeypatch.context() as patch:
        patch.setattr(openvino_compiled.CompiledNetwork, "to_bytes", lambda self: b"x" * 1000)
        rows = open_engine(store)(PIXELS[:1])
    engine = open_engine(store)
    np.testing.assert_array_equal(engine(PIXELS[:1]), rows)
    (note,) = engine.notes
    assert "OpenVINO cannot open its own compiled copy" in note
    assert "compiled anew" in note
    assert open_engine(store).notes == []
    assert len(compilations) == 2


def test_a_full_disk_leaves_an_engine_that_works(store, monkeypatch):
    open_engine(store)
    for path in compiled_files(store):
        path.unlink()

    def refuse(file, data):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(disk, "write_some", refuse)
    engine = open_engine(store)
    assert engine(PIXELS[:1]).shape == (1, 7)
    assert engine.notes == []
    assert compiled_files(store) == []


def test_large_networks_and_those_of_no_store_are_not_kept(store, compilations, monkeypatch):
    monkeypatch.setattr(openvino_cpu, "MOST_BYTES_KEPT", WEIGHTS.nbytes - 1)
    embed(open_engine(store))
    embed(OpenVINOEngine(Network(NO_MODEL, identity="product"), describe_cpu(), 2, 2))
    assert len(compilations) == 4
    assert len(store.list()) == 1
