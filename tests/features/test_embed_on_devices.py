"""Several GPUs, each in a process that sees no other, give the rows that one gives.

Stand-ins compute on the CPU and call themselves GPUs: this has never run on several cards.
"""

import os
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import call
from gpu_stand_ins import Different, Dying, OnGPU, no_memory, three_gpus

from benchmarks.stand_in import RECIPE, StandIn, extract
from pipeline.backbones.engines.device import Device
from pipeline.errors import DeviceError, EngineError
from pipeline.features import device_process, embed_on_devices
from pipeline.features.device_process import count_gpus
from pipeline.features.embed_on_devices import EmbedOnDevices, find_gpus
from pipeline.features.feature_file import FeatureFile
from pipeline.features.open_embedding import Workers
from pipeline.features.update import update_features
from pipeline.features.update_job import UpdateOptions
from pipeline.images.dataset import scan_dataset

DEVICES = ["0", "GPU-5a"]


def on_devices(make, batch_size=None):
    return EmbedOnDevices(make, batch_size, RECIPE.image_size, DEVICES)


def extract_on_devices(photos, target, make):
    options = UpdateOptions(reuse=False, workers=Workers("auto", 2))
    return update_features(scan_dataset(photos), RECIPE, target, partial(on_devices, make), options)


def read(path):
    with FeatureFile(path) as file:
        return file.contents, file.read_all()


def test_two_devices_give_the_file_of_one_each_in_a_process_that_sees_only_it(photos, tmp_path):
    (photos / "red" / "bad.png").write_bytes(b"no image")
    summary = extract_on_devices(photos, tmp_path / "a.h5", OnGPU)
    extract(photos, tmp_path / "b.h5", reuse=False)
    (contents, features), (wanted, expected) = read(tmp_path / "a.h5"), read(tmp_path / "b.h5")
    np.testing.assert_array_equal(features, expected)
    assert (contents.images.paths, contents.reasons) == (wanted.images.paths, wanted.reasons)
    assert contents.engines[-1].device_name == "Stand-in 9000"
    saw = [path.name.split("-", 1)[1].rpartition("-") for path in tmp_path.glob("saw-*")]
    assert sorted(device for device, _, _ in saw) == sorted(DEVICES)
    assert len({process for _, _, process in saw} | {str(os.getpid())}) == 3
    assert any("2 GPUs (0, GPU-5a; Stand-in 9000)" in note for note in summary.notes)


def test_more_images_than_a_task_has_come_out_in_their_order():
    pixels = np.random.default_rng(0).integers(0, 256, (27, 8, 8, 3)).astype(np.uint8)
    np.testing.assert_array_equal(on_devices(OnGPU)(pixels), StandIn()(pixels))


def test_a_device_that_is_killed_is_said_and_the_next_run_goes_on(photos, tmp_path):
    with pytest.raises(EngineError, match=r"process of a GPU ended early(.|\n)*SIGKILL"):
        extract_on_devices(photos, tmp_path / "a.h5", Dying)
    assert extract_on_devices(photos, tmp_path / "a.h5", OnGPU).n_images == 24


def test_devices_that_are_not_alike_are_refused_by_name():
    with pytest.raises(EngineError, match=r"not alike(.|\n)*GPU 0: .*GPU GPU-5a: .*Stand-in GPU-"):
        on_devices(Different)


def test_error_of_a_device_arrives_as_it_was_raised():
    with pytest.raises(DeviceError, match="Not enough memory"):
        on_devices(no_memory)


@pytest.mark.parametrize(
    ("visible", "names"), [("", ["0", "1", "2"]), ("GPU-5a, 7,2", ["GPU-5a", "7", "2"])]
)
def test_gpus_are_called_as_cuda_calls_them(monkeypatch, visible, names):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(embed_on_devices, "count_gpus", three_gpus)
    assert find_gpus(None) == names


@pytest.mark.parametrize(("seen_by", "n_gpus"), [("jax", 2), ("tensorflow", 3)])
def test_gpus_are_those_of_the_library_that_sees_one(monkeypatch, seen_by, n_gpus):
    found = Device("/GPU:0", "a GPU", seen_by=seen_by)
    monkeypatch.setattr(device_process, "find_device", lambda wanted, engine: found)
    monkeypatch.setattr(device_process, "list_gpus", lambda: ([("H100", "9.0")] * 2, ""))
    config = SimpleNamespace(list_physical_devices=lambda kind: ["a GPU"] * 3)
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace(config=config))
    assert count_gpus(None) == n_gpus


def test_all_gpus_where_there_are_none_is_an_error_that_says_so(photos, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    outcome = call("extract", photos, "--backbone", "efficientnet-lite0", "--device", "all")
    assert outcome.exit_code == 1
    assert "sees 0 GPU(s)" in outcome.stderr


def test_all_gpus_and_processes_are_not_asked_for_at_once(photos):
    outcome = call("extract", photos, "--device", "all", "--parallel", "processes")
    assert outcome.exit_code != 0
    assert "--device all" in outcome.stderr
    assert "--parallel" in outcome.stderr
