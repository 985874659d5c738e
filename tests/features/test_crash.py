"""Nothing that was computed is lost or wrong, whatever ends an extraction."""

import errno
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import call, make_photos

from benchmarks.crash import PART_ROWS, Trials
from benchmarks.stand_in import RECIPE, StandIn, extract
from pipeline.errors import LockedError, StorageError
from pipeline.features import finished_rows as rows
from pipeline.features.feature_file import FeatureFile
from pipeline.features.part_file import write_part
from pipeline.features.update import update_features
from pipeline.features.update_job import UpdateOptions
from pipeline.images.dataset import scan_dataset
from pipeline.recipe import EngineRecord
from pipeline.system import disk
from pipeline.system.paths import sha256_of_file
from pipeline.system.sealed_hdf5 import verify_seal

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "features.h5"


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(rows, "PART_ROWS", 4)


def read(target):
    with FeatureFile(target) as file:
        return file.contents, file.read_all()


class Interrupting(StandIn):
    """Raises after so many images, as Ctrl-C or a dying disk would."""

    def __init__(self, n_images, error):
        super().__init__(4)
        self.n_streams = 1
        self._n_left, self._error = n_images, error

    def __call__(self, pixels):
        self._n_left -= len(pixels)
        if self._n_left < 0:
            raise self._error
        return super().__call__(pixels)


def extract_until(root, target, n_images, error):
    stand_in = Interrupting(n_images, error)
    with pytest.raises(type(error)):
        update_features(
            scan_dataset(root), RECIPE, target, lambda size: stand_in, UpdateOptions(reuse=False)
        )


def parts_of(target):
    return sorted(target.with_name(target.name + ".parts").glob("*"))


@pytest.mark.parametrize("n_trials", [6, pytest.param(50, marks=pytest.mark.slow)])
def test_kills_at_random_moments_leave_the_same_file(tmp_path, monkeypatch, n_trials):
    monkeypatch.setattr(rows, "PART_ROWS", PART_ROWS)
    tally = Trials(tmp_path).at_random_moments(n_trials, seed=1)
    assert tally.inconsistencies == []
    assert tally.killed >= n_trials // 3


def test_kills_at_writes_fsyncs_and_renames_leave_the_same_file(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "PART_ROWS", PART_ROWS)
    tally = Trials(tmp_path).at_every_operation(torn=True, every=40)
    assert tally.inconsistencies == []
    assert tally.killed >= 5


def test_interrupted_extraction_resumes_with_identical_features(photos, target, small_parts):
    extract(photos, target.with_name("reference.h5"), reuse=False)
    extract_until(photos, target, 14, KeyboardInterrupt())
    assert not target.exists()
    summary, stand_in = extract(photos, target, reuse=False)
    assert summary.resumed == 12
    assert "Found 12 finished rows of an interrupted run or a probe." in summary.notes
    assert stand_in.n_images == 12
    reference, expected = read(target.with_name("reference.h5"))
    contents, features = read(target)
    np.testing.assert_array_equal(features, expected)
    np.testing.assert_array_equal(contents.images.digests, reference.images.digests)
    assert contents.images.paths == reference.images.paths
    assert parts_of(target) == []


def test_resumed_extraction_keeps_the_batch_size_and_says_so(photos, target, small_parts):
    extract_until(photos, target, 14, KeyboardInterrupt())
    summary, _ = extract(photos, target, batch_size=16)
    assert read(target)[0].batch_size == 4
    assert any("batch size stays 4" in note for note in summary.notes)


def test_damaged_file_beside_the_new_one_is_named_without_advice_for_another_case(photos, target):
    beside = target.with_name("beside.h5")
    extract(photos, beside)
    data = bytearray(beside.read_bytes())
    data[len(data) // 2] ^= 1
    beside.write_bytes(data)
    summary, stand_in = extract(photos, target)
    assert stand_in.n_images == 24
    (note,) = [note for note in summary.notes if str(beside) in note]
    assert note.startswith(f"Took no rows from {beside}: {beside} is damaged in ")
    assert "run extract again" not in note


def test_damaged_part_is_set_aside_by_name_and_its_rows_are_computed_again(
    photos, target, small_parts
):
    extract_until(photos, target, 14, KeyboardInterrupt())
    part = parts_of(target)[0]
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    summary, stand_in = extract(photos, target, reuse=False)
    assert stand_in.n_images == 16
    (note,) = [note for note in summary.notes if str(part) in note]
    assert "damaged" in note
    assert "computed anew" in note
    assert "run extract again" not in note
    assert [path.name for path in parts_of(target)] == [part.name + ".set-aside"]
    extract(photos, target.with_name("reference.h5"), reuse=False)
    np.testing.assert_array_equal(read(target)[1], read(target.with_name("reference.h5"))[1])


def test_a_file_among_the_parts_that_is_none_is_left_alone(photos, target):
    folder = target.with_name(target.name + ".parts")
    folder.mkdir(parents=True)
    (folder / "part-x.h5").write_text("somebody's")
    assert extract(photos, target)[1].n_images == 24
    assert (folder / "part-x.h5").read_text() == "somebody's"


def test_part_of_another_recipe_is_never_trusted(photos, target):
    folder = target.with_name(target.name + ".parts")
    digests = np.frombuffer(
        b"".join(bytes.fromhex(sha256_of_file(p)) for p in photos.rglob("*.png")), np.uint8
    ).reshape(-1, 32)
    wrong = np.full((len(digests), 24), 7, np.float32)
    engine = EngineRecord("stand-in", batch_size=4)
    write_part(folder / "part-000001.h5", replace(RECIPE, image_size=9), engine, digests, wrong)
    summary, stand_in = extract(photos, target)
    assert stand_in.n_images == 24
    assert any("another recipe" in note for note in summary.notes)
    assert not np.any(read(target)[1] == 7)


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("operation", "code", "at_least"),
    [
        ("write_some", errno.ENOSPC, 50),
        ("write_some", errno.EACCES, 50),
        ("write_some", errno.ENOENT, 50),
        ("fsync", errno.ENOSPC, 13),
        ("rename", errno.EACCES, 7),
    ],
)
def test_failing_operation_is_a_clear_error_and_loses_nothing(
    photos, target, small_parts, monkeypatch, operation, code, at_least, step
):
    """At each of the first 50, or each fifth: parts and old file stay, the next run ends well."""
    extract(photos, target.with_name("reference.h5"), reuse=False)
    expected = read(target.with_name("reference.h5"))[1]
    works = getattr(disk, operation)
    failed = 0
    for n in range(1, 51, step):
        count = 0

        def fail(*arguments, n=n):
            nonlocal count
            count += 1
            if count >= n:
                raise OSError(code, os.strerror(code))
            return works(*arguments)

        shutil.rmtree(target.parent / "trial", ignore_errors=True)
        trial = target.parent / "trial" / "features.h5"
        monkeypatch.setattr(disk, operation, fail)
        try:
            extract(photos, trial, reuse=False)
        except StorageError as error:
            failed += 1
            assert str(trial.parent) in str(error)
        monkeypatch.setattr(disk, operation, works)
        summary, _ = extract(photos, trial, reuse=False)
        np.testing.assert_array_equal(read(trial)[1], expected)
        assert summary.resumed + summary.computed + summary.kept == 24
        names = {path.name for path in trial.parent.iterdir()}
        assert names == {"features.h5", ".features.h5.lock"}
    assert failed >= at_least // step


def test_full_disk_while_a_run_is_written_is_a_clear_error_and_leaves_nothing(
    extracted, tmp_path, monkeypatch
):
    """A library writes the plots, and knows nothing of our errors."""

    def full(*arguments, **settings):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full)
    outcome = call("fit-head", extracted / "features.h5", "--output", tmp_path / "runs" / "a")
    assert outcome.exit_code == 1
    assert f"Cannot write {tmp_path / 'runs' / 'a'}: the disk is full" in outcome.stderr
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())


def test_full_disk_while_updating_leaves_the_old_file_untouched(photos, target, monkeypatch):
    extract(photos, target)
    before = target.read_bytes()
    make_photos(photos, n_per_class=12)

    def full(file, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk, "write_some", full)
    with pytest.raises(StorageError, match="disk is full"):
        extract(photos, target)
    assert target.read_bytes() == before


def test_folder_that_vanishes_is_a_clear_error(photos, target):
    class Vanishing(StandIn):
        def __call__(self, pixels):
            shutil.rmtree(target.parent, ignore_errors=True)
            target.parent.touch()
            return super().__call__(pixels)

    with pytest.raises(StorageError, match=r"Cannot write .*cache"):
        update_features(scan_dataset(photos), RECIPE, target, Vanishing)


def _extract_as_nobody(photos, target, queue):
    os.setgid(65534)
    os.setuid(65534)
    try:
        extract(photos, target)
    except StorageError as error:
        queue.put(str(error))
    else:
        queue.put("no error")


@pytest.mark.skipif(os.geteuid() != 0, reason="as an ordinary user the other test does this")
def test_folder_of_another_user_is_a_clear_error(photos, tmp_path):
    for folder in [tmp_path, *tmp_path.parents]:
        if folder.stat().st_uid == 0 and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    (tmp_path / "closed").mkdir(mode=0o755)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(
        target=_extract_as_nobody, args=(photos, tmp_path / "closed" / "f.h5", queue)
    )
    child.start()
    assert "permission denied" in queue.get(timeout=60)
    child.join()
    assert list((tmp_path / "closed").iterdir()) == []


def _extract_at_once(photos, target, barrier, queue):
    barrier.wait(60)
    try:
        update_features(scan_dataset(photos), RECIPE, target, StandIn, UpdateOptions(reuse=False))
        queue.put("done")
    except LockedError as error:
        queue.put(str(error))


def test_of_eight_processes_one_writes_and_the_others_say_who(photos, target):
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        barrier, queue = context.Barrier(8), context.Queue()
        workers = [
            context.Process(target=_extract_at_once, args=(photos, target, barrier, queue))
            for _ in range(8)
        ]
        for worker in workers:
            worker.start()
        said = [queue.get(timeout=60) for _ in workers]
        for worker in workers:
            worker.join()
        assert said.count("done") >= 1
        assert all(text == "done" or "is being written by" in text for text in said)
        verify_seal(target)
        target.unlink()


def test_version_1_file_stays_readable():
    with FeatureFile(ROOT / "tests/reference/version1.h5") as file:
        features = file.read_all()
        assert features.shape == (6, 24)
        assert file.contents.class_names == ["blue", "green", "red"]
        assert file.contents.images.paths[0] == "blue/000.png"
        np.testing.assert_array_equal(StandIn()(file.contents.probe_pixels), features)
    verify_seal(ROOT / "tests/reference/version1.h5")


@pytest.mark.slow
def test_killed_command_resumes_where_it_was(extracted, tmp_path):
    """Three times through the real command line, with efficientnet-lite0."""
    photos = make_photos(tmp_path / "photos", n_per_class=1150)
    command = [
        *(sys.executable, ROOT / "cli.py", "extract", photos, "--image-size", "32"),
        *("--backbone", "efficientnet-lite0", "--output", tmp_path / "features.h5"),
    ]
    parts = tmp_path / "features.h5.parts"
    for kill in (1, 2, 3):
        process = subprocess.Popen(command, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 120
        while len(list(parts.glob("part-*.h5"))) < kill:
            assert process.poll() is None, process.stderr.read().decode()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (tmp_path / "features.h5").exists()
    outcome = call(*command[2:])
    assert outcome.exit_code == 0, outcome.stderr
    assert "from an interrupted run" in outcome.stderr
    reference = call(*command[2:-1], tmp_path / "other" / "features.h5")
    assert reference.exit_code == 0, reference.stderr
    np.testing.assert_array_equal(
        read(tmp_path / "features.h5")[1], read(tmp_path / "other" / "features.h5")[1]
    )
