"""Converted networks are kept whole or not at all, and only what this user kept is ever used."""

import multiprocessing
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.backbones.engines.network_store import ConvertedNetwork, NetworkStore
from pipeline.system import disk

NETWORK = ConvertedNetwork(b"<net>\xff</net>", bytes(range(256)) * 8, 7)
PLACE = ("identity", "openvino", "2026.4")


def open_store(folder: Path) -> NetworkStore:
    return NetworkStore(folder / "networks", folder / "secret" / "seal")


@pytest.fixture
def store(tmp_path):
    return open_store(tmp_path)


def the_file(store: NetworkStore) -> Path:
    (path,) = store.folder.iterdir()
    return path


def test_what_was_kept_is_read_back_and_nothing_else(store):
    assert store.read(*PLACE) is None
    assert store.write(*PLACE, NETWORK) == []
    assert store.read(*PLACE) == NETWORK
    for other in (("other", *PLACE[1:]), (PLACE[0], "litert", PLACE[2]), (*PLACE[:2], "2026.5")):
        assert store.read(*other) is None


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_file_with_one_byte_changed_or_cut_or_longer_is_never_used(tmp_path, data):
    store = open_store(tmp_path)
    store.write(*PLACE, NETWORK)
    path = the_file(store)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "longer"]))
    bit = 1 << data.draw(st.integers(0, 7))
    damaged = {
        "flip": whole[:place] + bytes([whole[place] ^ bit]) + whole[place + 1 :],
        "cut": whole[:place],
        "longer": whole + b"\0",
    }[kind]
    path.write_bytes(damaged)
    assert store.read(*PLACE) is None
    assert [stored.identity for stored in store.list()] == [None]
    store.write(*PLACE, NETWORK)  # and the next command mends it
    assert store.read(*PLACE) == NETWORK


def test_a_network_that_somebody_else_planted_is_not_used(tmp_path, store):
    """It is whole and of the right name, and sealed with another user's secret."""
    store.write(*PLACE, NETWORK)
    other = NetworkStore(tmp_path / "theirs", tmp_path / "their-secret")
    other.write(*PLACE, ConvertedNetwork(b"evil", b"", 7))
    the_file(store).write_bytes(the_file(other).read_bytes())
    assert store.read(*PLACE) is None


def test_a_network_under_the_name_of_another_is_not_used(store):
    store.write("first", *PLACE[1:], NETWORK)
    data = the_file(store).read_bytes()
    store.clear()
    store.write("second", *PLACE[1:], NETWORK)
    the_file(store).write_bytes(data)
    assert store.read("second", *PLACE[1:]) is None


def test_a_secret_that_others_may_write_seals_nothing(tmp_path, store):
    store.write(*PLACE, NETWORK)
    (tmp_path / "secret" / "seal").chmod(0o666)
    assert store.read(*PLACE) is None


def test_a_full_disk_leaves_a_sentence_and_no_file(store, monkeypatch):
    def refuse(file, data):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(disk, "write_some", refuse)
    (note,) = store.write(*PLACE, NETWORK)
    assert "not kept" in note
    assert "full" in note
    assert list(store.folder.iterdir()) == []


def test_a_home_that_cannot_be_written_leaves_a_sentence(tmp_path):
    (tmp_path / "secret").write_text("a file where a folder is needed")
    (note,) = open_store(tmp_path).write(*PLACE, NETWORK)
    assert "not kept" in note
    assert "FROSTLINE_NETWORKS=FOLDER" in note
    assert "`network_store=False`" in note
    assert "output" not in note


def _fill(folder: Path, number: int) -> None:
    store = open_store(folder)
    for _ in range(20):
        assert store.write(*PLACE, NETWORK) == []
        assert store.read(*PLACE) == NETWORK, number


def test_a_pipe_or_an_endless_file_under_a_networks_name_is_not_waited_for(store):
    store.write(*PLACE, NETWORK)
    path = the_file(store)
    path.unlink()
    os.mkfifo(path)
    assert store.read(*PLACE) is None
    assert store.list() == []
    path.unlink()
    path.touch()
    os.truncate(path, 2**33)  # nothing but holes
    assert store.read(*PLACE) is None
    assert store.write(*PLACE, NETWORK) == []
    assert store.read(*PLACE) == NETWORK


def test_a_pipe_where_the_secret_belongs_is_not_waited_for(tmp_path):
    (tmp_path / "secret").mkdir()
    os.mkfifo(tmp_path / "secret" / "seal")
    store = open_store(tmp_path)
    assert store.read(*PLACE) is None
    assert store.write(*PLACE, NETWORK) == []  # a new secret takes its place
    assert store.read(*PLACE) == NETWORK


def test_two_processes_that_fill_it_at_once_do_no_harm(tmp_path):
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_fill, args=(tmp_path, n)) for n in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert open_store(tmp_path).read(*PLACE) == NETWORK


def test_the_networks_that_were_used_last_stay(store):
    for number in range(4):
        store.write(f"network {number}", *PLACE[1:], NETWORK)
        path = next(s.path for s in store.list() if s.identity == f"network {number}")
        os.utime(path, (time.time() + number - 10,) * 2)
    assert store.read("network 0", *PLACE[1:]) == NETWORK  # a use counts
    size = the_size = store.list()[0].n_bytes
    store.prune(max_bytes=2 * the_size + size // 2)
    assert [stored.identity for stored in store.list()] == ["network 0", "network 3"]
    store.prune(max_age=-1)
    assert store.list() == []


def test_importing_openvino_reports_nothing_to_its_makers():
    code = (
        "import sys, pipeline.system.openvino_runtime as o\n"
        "assert 'openvino_telemetry' not in sys.modules\n"
        "assert o.openvino.tools.ovc.telemetry_utils.tm.__name__.endswith('telemetry_stub')\n"
        "import openvino_telemetry  # whoever wants it can have it\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_two_engines_of_one_network_give_equal_bits_from_the_store(tmp_path):
    """Converted in this process, and as it lies in the store; at any place in any stream."""
    from networks import recipe_of

    from pipeline.backbones.build import build_embedding_model
    from pipeline.backbones.engines.device import describe_cpu
    from pipeline.backbones.engines.engine import Network, identify_network
    from pipeline.backbones.engines.openvino_cpu import OpenVINOEngine
    from pipeline.backbones.registry import get_backbone
    from pipeline.backbones.weights.resolve import resolve_weights
    from pipeline.system.parallel import map_batches

    weights = resolve_weights(get_backbone("efficientnet-lite0"), "imagenet")
    recipe = recipe_of("efficientnet-lite0", weights.key)
    store = open_store(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (24, 32, 32, 3), np.uint8)
    pixels[1::2] = pixels[0]

    def open_engine(build, precision, n_streams):
        network = Network(build, precision, recipe, identify_network(recipe), store)
        return OpenVINOEngine(network, describe_cpu(), 1, n_streams)

    for precision in ("float32", "mixed_bfloat16"):
        first = open_engine(lambda: build_embedding_model(recipe, weights), precision, 1)
        again = open_engine(lambda: pytest.fail("converted twice"), precision, 4)
        one_by_one = np.concatenate([first(image[None]) for image in pixels])
        batches = [image[None] for image in pixels]
        at_once = np.concatenate(list(map_batches(again, batches, 4)))
        np.testing.assert_array_equal(one_by_one, at_once)
        assert len(np.unique(one_by_one[1::2], axis=0)) == 1
