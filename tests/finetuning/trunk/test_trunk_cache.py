"""The trunk cache: what is in it, what is computed again, and what damage does to it."""

import functools
import operator
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import make_photos
from hypothesis import given
from hypothesis import strategies as st
from killed_parent import ENDS, survivors_of_a_kill

from benchmarks.stand_in import RECIPE, StandIn
from pipeline.errors import DatasetError, FeatureFileError, FrostlineError, LockedError
from pipeline.features import finished_rows as rows
from pipeline.finetuning.trunk import worker as trunk_worker
from pipeline.finetuning.trunk.cache import Trunk, TrunkCache, find_finished, key_of
from pipeline.finetuning.trunk.job import TrunkJob
from pipeline.finetuning.trunk.plan import TrunkPlan, plan_trunk_cache
from pipeline.finetuning.trunk.worker import TrunkPace, embed_missing, fill_trunk_cache
from pipeline.images.decoding.read_images import hash_image_file
from pipeline.system.locks import hold_lock
from pipeline.system.sealed_hdf5 import verify_seal

TRUNK = Trunk("recipe", "", "block7a", (2, 3, 4), "light seed 0")


class FakeRun:
    recipe = RECIPE


@pytest.fixture
def job(tmp_path):
    paths = sorted(make_photos(tmp_path / "photos", n_per_class=4).rglob("*.png"))
    paths.append(paths[0])  # an image twice
    return TrunkJob(
        target=tmp_path / "cache/trunk.h5",
        trunk=TRUNK,
        run=FakeRun(),
        weights=None,
        precision="float32",
        device="cpu",
        preset="none",
        flip=True,
        seed=0,
        paths=paths,
        digests=np.stack([hash_image_file(path)[0] for path in paths]),
        views=[[1, 2]] * 8 + [[0]] * 3 + [[], [1, 2]],
    )


@pytest.fixture
def stand_in(monkeypatch):
    embedder = StandIn(4)
    embedder.n_streams = 1
    monkeypatch.setattr(trunk_worker, "_build_embedder", lambda job, batch_size: embedder)
    monkeypatch.setattr(trunk_worker, "_opened", {})
    return embedder


def fill(job):
    return embed_missing(job, lambda stage, done, total: None)


def test_each_view_of_each_different_image_is_computed_once(job, stand_in):
    fill(job)
    assert stand_in.n_images == 8 * 2 + 3
    with TrunkCache(job.target, TRUNK) as cache:
        assert len(cache.keys) == 19
        (value,) = cache.read(job.digests[8:9])
        from pipeline.images.decoding.read_images import read_image

        _, pixels = read_image(job.paths[8], RECIPE)
        expected = StandIn()(pixels[None]).astype(np.float16).reshape(2, 3, 4)
        np.testing.assert_array_equal(value, expected)
        assert value.dtype == np.float16
        twice = cache.read(np.stack([key_of(job.digests[0], 1), key_of(job.digests[12], 1)]))
        np.testing.assert_array_equal(twice[0], twice[1])
    verify_seal(job.target)
    before = job.target.read_bytes()
    fill(job)
    assert stand_in.n_images == 19
    assert job.target.read_bytes() == before


@pytest.mark.parametrize("memory_bytes", [0, 300, 10**6])
def test_rows_are_the_same_however_many_of_them_fit_in_memory(job, stand_in, memory_bytes):
    fill(job)
    with h5py.File(job.target) as file:
        keys, rows = file["key"][:], file["features"][:]
    order = np.array([5, 0, 17, 5, 18])
    with TrunkCache(job.target, TRUNK, memory_bytes=memory_bytes) as cache:
        read = cache.read(keys[order])
    np.testing.assert_array_equal(read, rows[order].reshape(5, 2, 3, 4))
    assert read.dtype == np.float16


def test_long_rows_are_written_to_parts_before_they_fill_the_memory(job, stand_in, monkeypatch):
    written = []
    write_part = rows.write_part
    monkeypatch.setattr(rows, "PART_BYTES", 5 * TRUNK.row_bytes)
    monkeypatch.setattr(
        rows, "write_part", lambda *args: (written.append(len(args[-1])), write_part(*args))
    )
    fill(job)
    assert written == [5, 5, 5, 4]


def test_interrupted_filling_resumes_from_its_parts_with_the_same_bytes(
    job, stand_in, monkeypatch, tmp_path
):
    monkeypatch.setattr(rows, "PART_ROWS", 4)
    fill(job)
    expected = job.target.read_bytes()
    job.target.unlink()
    stand_in.n_images = 0
    call = StandIn.__call__

    def dying(self, pixels):
        if self.n_images >= 12:
            raise KeyboardInterrupt
        return call(self, pixels)

    with monkeypatch.context() as patched:
        patched.setattr(StandIn, "__call__", dying)
        with pytest.raises(KeyboardInterrupt):
            fill(job)
    assert not job.target.exists()
    n_done = stand_in.n_images
    fill(job)
    assert stand_in.n_images < 19 + n_done
    assert job.target.read_bytes() == expected
    assert not rows.parts_folder_of(job.target).exists()


def test_damaged_cache_is_set_aside_and_made_again(job, stand_in):
    fill(job)
    whole = job.target.read_bytes()
    job.target.write_bytes(whole[:3000] + bytes([whole[3000] ^ 1]) + whole[3001:])
    (note,) = fill(job)
    assert "Set aside" in note
    assert "damaged" in note
    assert job.target.read_bytes() == whole


def test_cache_of_another_trunk_is_never_used(job, stand_in):
    fill(job)
    other = Trunk("recipe", "", "block6a", (2, 3, 4), "light seed 0")
    with pytest.raises(FeatureFileError, match="another trunk"):
        TrunkCache(job.target, other)
    found = find_finished(job.target, other)
    assert found.sources == []
    assert "another trunk" in found.notes[0]


def test_image_that_changed_meanwhile_is_an_error(job, stand_in):
    job.paths[8].write_bytes(job.paths[9].read_bytes())
    with pytest.raises(DatasetError, match="its bytes changed"):
        fill(job)


def test_values_beyond_float16_are_an_error_not_infinity(job, stand_in, monkeypatch):
    call = StandIn.__call__
    monkeypatch.setattr(StandIn, "__call__", lambda self, pixels: 1e4 * call(self, pixels))
    with pytest.raises(FrostlineError, match="does not fit float16"):
        fill(job)


class DeadlyJob(TrunkJob):
    """Kills the process that fills the cache, as a kernel does that is out of memory."""

    def find_missing(self, finished):
        os.kill(os.getpid(), signal.SIGKILL)


class ClumsyJob(TrunkJob):
    def find_missing(self, finished):
        return {}["missing"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (DeadlyJob, "ended early: its process died of SIGKILL. Out of memory, perhaps"),
        (ClumsyJob, r"could not be filled:(.|\n)*KeyError: 'missing'"),
    ],
)
def test_end_of_the_process_that_fills_the_cache_is_told_in_words(job, kind, words):
    with pytest.raises(FrostlineError, match=words):
        fill_trunk_cache(kind(**vars(job)), lambda stage, done, total: None)


def test_cache_that_another_process_fills_is_said_with_its_number(job):
    """The error comes from the child, with its class and its words."""
    with (
        hold_lock(job.target),
        pytest.raises(LockedError, match=f"is being written by process {os.getpid()}"),
    ):
        fill_trunk_cache(job, lambda *values: None)


@pytest.mark.parametrize("end", ENDS)
def test_process_that_fills_the_cache_ends_when_the_fine_tuning_is_killed(tmp_path, end):
    (tmp_path / "slow.py").write_text(
        "import os, time\n"
        "from pathlib import Path\n"
        "from pipeline.finetuning.trunk.job import TrunkJob\n"
        "class SlowJob(TrunkJob):\n"
        "    def find_missing(self, finished):\n"
        "        Path(f'child-{os.getpid()}').touch()\n"
        "        time.sleep(1000)\n"
    )
    program = (
        "import numpy as np\n"
        "from pathlib import Path\n"
        "from pipeline.finetuning.trunk.cache import Trunk\n"
        "from pipeline.finetuning.trunk.worker import fill_trunk_cache\n"
        "from slow import SlowJob\n"
        "trunk = Trunk('recipe', '', 'block7a', (2, 3, 4), '')\n"
        "job = SlowJob(Path('t.h5'), trunk, None, None, 'float32', 'cpu', 'none', False, 0, [],\n"
        "              np.zeros((0, 32), np.uint8), [])\n"
        "fill_trunk_cache(job, print)\n"
    )
    assert survivors_of_a_kill(program, tmp_path, n_children=1, end=end) == []


def test_what_filling_takes_is_known_within_30_percent_before_it_begins(
    job, stand_in, monkeypatch, tmp_path
):
    """Decoding and augmentation cost something, too; what was measured is not computed again."""
    paths = sorted(make_photos(tmp_path / "more", n_per_class=12).rglob("*.png"))
    digests = np.stack([hash_image_file(path)[0] for path in paths])
    job = replace(job, paths=paths, digests=digests, views=[[1, 2]] * 24 + [[0]] * 12)
    n_rows, decode, augment = 0, trunk_worker.read_image, trunk_worker.Augmentation.__call__

    def embed(self, pixels):
        nonlocal n_rows
        n_rows += len(pixels)
        time.sleep(0.008 * len(pixels))
        return np.zeros((len(pixels), 24), np.float32)

    def decode_slowly(*arguments):
        time.sleep(0.016)
        return decode(*arguments)

    def augment_slowly(self, images, *arguments):
        time.sleep(0.008 * len(images))
        return augment(self, images, *arguments)

    monkeypatch.setattr(StandIn, "__call__", embed)
    monkeypatch.setattr(trunk_worker, "read_image", decode_slowly)
    monkeypatch.setattr(trunk_worker.Augmentation, "__call__", augment_slowly)
    plan, _ = plan_trunk_cache(job, trunk_seconds=1.0, n_passes=100)
    row_seconds, n_measured = trunk_worker.measure_rows(job)
    assert 0 < n_measured < 60 / 2
    assert not job.target.exists()
    said = plan.with_pace(TrunkPace(2.0, row_seconds, n_measured)).seconds - 2.0
    n_before, started = n_rows, time.perf_counter()
    fill(job)
    taken = time.perf_counter() - started
    assert said == pytest.approx(taken, rel=0.3)
    assert n_rows - n_before == 60 - n_measured


@given(
    image_size=st.integers(32, 640),
    row_values=st.integers(1, 4_000_000),
    n_views=st.integers(1, 16),
    images_per_task=st.sampled_from([8, 128, 1024]),
    n_streams=st.integers(1, 64),
)
def test_no_more_bytes_are_under_way_than_memory_should_hold(
    image_size, row_values, n_views, images_per_task, n_streams
):
    embedder = StandIn(4)
    embedder.images_per_task, embedder.n_streams = images_per_task, n_streams
    run = FakeRun()
    run.recipe = replace(RECIPE, image_size=image_size)
    job = TrunkJob(
        *(
            Path("t.h5"),
            replace(TRUNK, shape=(1, 1, row_values)),
            run,
            None,
            "float32",
            "cpu",
            "light",
        ),
        *(False, 0, [], np.zeros((0, 32), np.uint8), []),
    )
    missing = [(image, list(range(1, n_views + 1))) for image in range(50)]
    tasks = trunk_worker.divide(job, missing, embedder)
    assert functools.reduce(operator.iadd, tasks.batches, []) == missing
    assert 1 <= tasks.n_streams <= n_streams
    rows_under_way = 4 * tasks.n_streams * max(map(len, tasks.batches)) * n_views
    held = rows_under_way * (3 * image_size**2 + 6 * row_values)
    if tasks.n_streams > 1 or len(tasks.batches[0]) > 1:
        assert held <= 1_000_000_000


def test_plan_counts_what_is_missing_and_what_it_saves(job, stand_in):
    plan, _ = plan_trunk_cache(job, trunk_seconds=1.0, n_passes=100)
    assert (plan.n_rows, plan.n_missing, plan.bytes) == (19, 19, 19 * 48)
    assert plan.saved_seconds == 100
    assert plan.is_worth_it
    assert "19 of 19 rows to compute, at least 5 s" in plan.describe()
    plan = plan.with_pace(TrunkPace(start_seconds=9.0, row_seconds=6.0, n_rows=3))
    assert "19 of 19 rows to compute, about 105 s" in plan.describe()
    assert plan.is_worth_it  # the 9 s are spent already
    assert not plan.with_pace(TrunkPace(9.0, 6.3, 3)).is_worth_it
    fill(job)
    plan, _ = plan_trunk_cache(job, trunk_seconds=1.0, n_passes=100)
    assert (plan.n_missing, plan.seconds) == (0, 0)


@pytest.mark.parametrize(
    ("seconds", "saved", "free", "is_worth_it"),
    [(50, 100, 10_000, True), (100, 50, 10_000, False), (50, 100, 2_000, False)],
)
def test_cache_is_used_where_it_saves_time_and_the_disk_has_room(
    tmp_path, seconds, saved, free, is_worth_it
):
    plan = TrunkPlan(tmp_path / "x.h5", 10, 10, 1_000, seconds, saved, free)
    assert plan.is_worth_it is is_worth_it
