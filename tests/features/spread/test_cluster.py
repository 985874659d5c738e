"""Workers of a cluster give the rows of one machine, whoever dies; one that differs is refused."""

import pickle
import signal
import sys
import time
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from conftest import call, make_photos
from PIL import Image
from same_files import read_everything

from benchmarks.local_cluster import (
    CrashingDecoder,
    DyingOfWhite,
    LocalWorkers,
    SlowStandIn,
    Upgraded,
)
from benchmarks.stand_in import RECIPE, StandIn, extract
from pipeline.errors import ClusterError, EngineError, MissingExtraError
from pipeline.features import finished_rows
from pipeline.features.open_embedding import Workers
from pipeline.features.spread import cluster, scheduler
from pipeline.features.spread.cluster_checks import (
    describe_other_frostline,
    require_equal,
    require_visible,
)
from pipeline.features.spread.cluster_worker import Passport, describe_frostline, make_on_worker
from pipeline.features.update import update_features
from pipeline.features.update_job import UpdateOptions
from pipeline.images.augmentation.augment import AUGMENTATION_VERSION
from pipeline.images.augmentation.views import Views
from pipeline.images.dataset import scan_dataset
from pipeline.images.decoding.read_images import DEFAULT_LIMITS
from pipeline.recipe import EngineRecord


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    with LocalWorkers(2, tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
def small_tasks(monkeypatch):
    monkeypatch.setattr(cluster, "IMAGES_PER_TASK", 4)
    monkeypatch.setattr(finished_rows, "PART_ROWS", 8)


@pytest.fixture
def many(tmp_path):
    photos = make_photos(tmp_path / "photos", n_per_class=60)
    (photos / "red" / "bad.png").write_bytes(b"no image")
    return photos


def extract_on(
    scheduler, photos, target, make=SlowStandIn, on_progress=lambda *_: None, views=None
):
    options = UpdateOptions(reuse=False, workers=Workers(scheduler=scheduler), views=views)
    dataset = scan_dataset(photos)
    return update_features(dataset, RECIPE, target, make, options, on_progress)


def assert_same_rows(path, expected):
    """Bit for bit, but for how many computed at once."""
    ours, theirs = read_everything(path), read_everything(expected)
    for found in (ours, theirs):
        found["@engines"] = found["@engines"].replace('"n_threads": 2', '"n_threads": 0')
    assert [name for name in theirs if ours.get(name) != theirs[name]] == []
    assert ours.keys() == theirs.keys()


def drive(scheduler, photos, target):
    """An extraction in small tasks, in a process of its own: one that is forked inherits what the
    threads of other tests hold, and may wait for it for ever.
    """
    cluster.IMAGES_PER_TASK, finished_rows.PART_ROWS = 4, 8
    extract_on(scheduler, photos, target)


def test_file_is_the_same_when_the_driver_is_killed_three_times(workers, many, tmp_path):
    target = tmp_path / "killed.h5"
    start = partial(get_context("spawn").Process, target=drive)
    for kill in (1, 2, 3):
        driver = start(args=(workers.address, many, target))
        driver.start()
        deadline = time.monotonic() + 60
        while len(list(target.with_name("killed.h5.parts").glob("part-*.h5"))) < 3 * kill:
            assert time.monotonic() < deadline and driver.is_alive()
            time.sleep(0.005)
        driver.kill()
        driver.join()
        assert driver.exitcode == -signal.SIGKILL
        assert not target.exists()
    driver = start(args=(workers.address, many, target))
    driver.start()
    driver.join()
    assert driver.exitcode == 0
    extract(many, tmp_path / "whole.h5", reuse=False)
    assert_same_rows(target, tmp_path / "whole.h5")
    assert {path.name for path in tmp_path.glob("*killed*")} == {"killed.h5", ".killed.h5.lock"}


def test_views_are_those_of_one_machine_after_another_extraction_of_the_same_images(
    workers, photos, tmp_path, small_tasks
):
    """What workers were accepted by then is no proof of what they make of views."""
    views = Views(3, "strong", 0, AUGMENTATION_VERSION)
    extract_on(workers.address, photos, tmp_path / "plain.h5", StandIn)
    extract_on(workers.address, photos, tmp_path / "cluster.h5", StandIn, views=views)
    extract(photos, tmp_path / "whole.h5", reuse=False, views=views)
    assert_same_rows(tmp_path / "cluster.h5", tmp_path / "whole.h5")


def test_file_is_the_same_when_workers_are_killed_three_times_in_a_row(
    workers, many, tmp_path, small_tasks
):
    killed = []

    def kill(stage, done, total):
        if stage == "Embedding" and done >= total * (len(killed) + 1) // 5 and len(killed) < 3:
            killed.append(workers.kill_a_worker())

    summary = extract_on(workers.address, many, tmp_path / "cluster.h5", on_progress=kill)
    extract(many, tmp_path / "whole.h5", reuse=False)
    assert_same_rows(tmp_path / "cluster.h5", tmp_path / "whole.h5")
    assert len(set(killed)) == 3
    assert summary.computed == 180
    assert [path for path, _ in summary.skipped] == ["red/bad.png"]
    assert any("2 worker(s) of tcp://" in note for note in summary.notes)


def test_command_line_gives_the_rows_of_one_machine(workers, extracted, tmp_path):
    outcome = call(
        *("extract", extracted / "photos", "--backbone", "efficientnet-lite0", "--no-reuse"),
        *("--image-size", 32, "--scheduler", workers.address, "--jobs", 2),
        *("--output", tmp_path / "a.h5"),
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert "--jobs 2 changes nothing: the workers of" in outcome.stderr
    ours, theirs = (read_everything(p) for p in (tmp_path / "a.h5", extracted / "features.h5"))
    assert ours["features"] == theirs["features"]


@pytest.mark.slow
def test_worker_that_comes_later_and_differs_is_refused_by_name(
    workers, many, tmp_path, small_tasks
):
    upgraded, before = workers.folder / "upgraded", set(workers.list_workers())

    def upgrade(stage, done, total):
        if stage == "Embedding" and done >= total // 2 and not upgraded.exists():
            upgraded.touch()
            assert {workers.kill_a_worker(), workers.kill_a_worker()} == before

    with pytest.raises(EngineError) as error:
        extract_on(workers.address, many, tmp_path / "a.h5", Upgraded, upgrade)
    upgraded.unlink()
    said = str(error.value)
    assert "computes with something else than the others. Expected stand-in 1 on" in said
    assert "Received: stand-in 2 on a stand-in" in said
    assert not (tmp_path / "a.h5").exists()
    assert extract(many, tmp_path / "a.h5", reuse=False)[0].resumed >= 8


def test_only_what_is_here_must_be_seen_by_workers(tmp_path):
    here, gone = tmp_path / "here.png", tmp_path / "gone.png"
    here.write_bytes(b"image")
    read, unread = (np.ones(32, np.uint8), "no image"), (np.zeros(32, np.uint8), "no such file")
    require_visible("tcp://w:1", [here, gone], [read, unread], DEFAULT_LIMITS)
    with pytest.raises(ClusterError) as error:
        require_visible("tcp://w:1", [gone, here], [unread, unread], DEFAULT_LIMITS)
    assert "tcp://w:1 cannot read an image that is there: no such file." in str(error.value)
    assert f"Received: {here}" in str(error.value)


def test_image_that_a_worker_cannot_see_is_named(workers, photos, tmp_path):
    """The path leads elsewhere in a process with another working folder."""
    unseen = Path("/proc/self/cwd/photos")
    with pytest.raises(ClusterError) as error:
        extract_on(workers.address, unseen, tmp_path / "a.h5", StandIn)
    assert "cannot read an image that is there" in str(error.value)
    assert "/proc/self/cwd/photos/blue/000.png" in str(error.value)
    assert not (tmp_path / "a.h5").exists()


def test_where_no_scheduler_answers_is_said(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(scheduler, "WAIT_SECONDS", 1.0)
    for address in ("tcp://127.0.0.1:9", "nonsense", "ftp://127.0.0.1:9"):
        with pytest.raises(ClusterError, match="No scheduler answers there") as error:
            extract_on(address, photos, tmp_path / "a.h5")
        assert f"Received: `scheduler={address}`" in str(error.value)


def test_missing_package_is_an_error_that_names_the_extra(photos, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[dask\]'"):
        extract_on("tcp://127.0.0.1:9", photos, tmp_path / "a.h5")


PROBE = (Path("a.png"),)
FIRST = Passport(
    "tcp://first:1",
    describe_frostline(),
    EngineRecord("openvino", "1", "cpu", "a chip", precision="float32", batch_size=1),
    (3, 1, 8),
    [],
    [(np.full(32, 7, np.uint8), None)],
    np.array([[1, 2, 4]], np.float32),
)


def worker_like_first(**changes):
    return replace(FIRST, address="tcp://second:2", **changes)


def test_worker_that_gives_the_same_is_accepted_without_a_word():
    require_equal(worker_like_first(), FIRST, PROBE)
    assert worker_like_first().seal == FIRST.seal
    on_gpu = EngineRecord("jax", "1", "gpu", "a GPU", batch_size=1)
    rounded = FIRST.features * np.float32(1 + 1e-5)
    require_equal(
        worker_like_first(record=on_gpu, features=rounded), replace(FIRST, record=on_gpu), PROBE
    )


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"frostline": "0.0 (aa)"}, ClusterError, "tcp://second:2 with 0.0 (aa)"),
        (
            {"record": replace(FIRST.record, device_name="another chip")},
            EngineError,
            "openvino 1 on another chip",
        ),
        ({"record": replace(FIRST.record, version="2")}, EngineError, "openvino 2 on a chip"),
        ({"numbers": (3, 8, 8)}, EngineError, "8 images per call"),
        (
            {"outcomes": [(np.full(32, 8, np.uint8), None)]},
            ClusterError,
            "sees other bytes than tcp://first:1 in a.png",
        ),
        (
            {"features": FIRST.features + np.float32(1e-6)},
            EngineError,
            "gives other rows than tcp://first:1",
        ),
        ({"features": FIRST.features[:0]}, EngineError, "Received: inf"),
    ],
)
def test_worker_that_differs_is_refused_by_name(changes, error, said):
    other = worker_like_first(**changes)
    assert other.seal != FIRST.seal or not changes.get("features", FIRST.features).size
    with pytest.raises(error) as raised:
        require_equal(other, FIRST, PROBE)
    assert said in str(raised.value)
    assert "tcp://second:2" in str(raised.value)


def test_workers_without_frostline_are_named():
    others = {f"tcp://w:{n}": ModuleNotFoundError("No module named 'pipeline'") for n in range(5)}
    said = describe_other_frostline(others)
    assert "tcp://w:0 with none that answers (No module named 'pipeline')" in said
    assert "and 2 more" in said


def test_what_is_sent_to_workers_can_be_sent():
    assert pickle.loads(pickle.dumps(partial(make_on_worker, RECIPE, "random", "cpu", None)))


@pytest.mark.slow
def test_images_of_which_workers_die_are_named_and_the_rest_is_kept(tmp_path, many, small_tasks):
    white = many / "red" / "white.png"
    Image.new("RGB", (24, 24), (255, 255, 255)).save(white)
    with (
        LocalWorkers(2, tmp_path / "cluster") as running,
        pytest.raises(ClusterError, match=r"Workers died again and again(.|\n)*is kept"),
    ):
        extract_on(running.address, many, tmp_path / "a.h5", DyingOfWhite)
    white.unlink()
    assert extract(many, tmp_path / "a.h5", reuse=False)[0].resumed >= 150


@pytest.mark.slow
def test_images_of_which_a_decoder_crashes_are_decoded_by_themselves(tmp_path, many, small_tasks):
    Image.new("RGB", (24, 24), (255, 255, 255)).save(many / "red" / "white.png")
    with LocalWorkers(2, tmp_path / "cluster") as running:
        extract_on(running.address, many, tmp_path / "cluster.h5", CrashingDecoder)
    extract(many, tmp_path / "whole.h5", reuse=False)
    assert_same_rows(tmp_path / "cluster.h5", tmp_path / "whole.h5")


@pytest.mark.slow
def test_lost_scheduler_is_said_and_another_goes_on(tmp_path, many, small_tasks):
    with LocalWorkers(2, tmp_path / "cluster") as running:

        def kill(stage, done, total):
            if stage == "Embedding" and done >= total // 2:
                running.kill_all()

        with pytest.raises(ClusterError, match="scheduler is lost"):
            extract_on(running.address, many, tmp_path / "a.h5", on_progress=kill)
    with LocalWorkers(2, tmp_path / "other") as running:
        summary = extract_on(running.address, many, tmp_path / "a.h5")
    assert summary.resumed >= 70
    extract(many, tmp_path / "whole.h5", reuse=False)
    assert_same_rows(tmp_path / "a.h5", tmp_path / "whole.h5")
