"""A run's name: one writer's at a time, and the old run's until the new one is whole."""

import errno
import multiprocessing
import os
import shutil
from pathlib import Path

import pytest
from conftest import call

from benchmarks.stand_in import extract
from pipeline.errors import FeatureFileError, LockedError, RunError, StorageError
from pipeline.heads.fit_head import fit_head
from pipeline.runs.run_folder import claim_output, new_run, open_run
from pipeline.system import disk


@pytest.fixture
def features(photos, tmp_path):
    extract(photos, tmp_path / "f.h5")
    return tmp_path / "f.h5"


@pytest.fixture
def run(features, tmp_path):
    return fit_head(features, C=1.0, output=tmp_path / "run").folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def read_all(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def commands(features, fitted):
    return ("fit-head", features, "--C", 1), ("finetune", fitted)


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_what_is_no_run_is_never_overwritten(features, fitted, photos, tmp_path, force):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "manifest.json").write_text('{"name": "a web page has one, too"}')
    for place in (photos, tmp_path / "site"):
        before = read_all(place)
        for command in commands(features, fitted):
            outcome = call(*command, "--output", place, *force)
            assert outcome.exit_code == 1
            assert "holds something else than a run" in outcome.stderr
            assert f"Received: --output {place}" in outcome.stderr
            assert "--force" not in outcome.stderr
        assert read_all(place) == before
    assert names(tmp_path) == [".f.h5.lock", "f.h5", "photos", "site"]


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_file_where_a_folder_is_expected_is_told_before_any_work(
    features, fitted, tmp_path, force, monkeypatch
):
    monkeypatch.setattr("pipeline.heads.fit_head.fit", lambda *_, **__: pytest.fail("it fitted"))
    (tmp_path / "notes.txt").write_text("mine")
    for command in commands(features, fitted):
        outcome = call(*command, "--output", "notes.txt", *force)
        assert outcome.exit_code == 1
        assert "This output is a file. Expected the name of a folder" in outcome.stderr
        assert "Received: --output notes.txt" in outcome.stderr
        outcome = call(*command, "--output", "notes.txt/run", *force)
        assert outcome.exit_code == 1
        assert "Cannot write notes.txt: a file of that name is in the way" in outcome.stderr
        assert "choose another --output" in outcome.stderr
    outcome = call("finetune", fitted, "--tensorboard", "notes.txt")
    assert outcome.exit_code == 1
    assert "Cannot write notes.txt: a file of that name is in the way" in outcome.stderr
    assert "choose another --tensorboard" in outcome.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_run_is_replaced_with_force_only(features, run):
    (run / "mark").touch()
    with pytest.raises(RunError, match="exists already"):
        fit_head(features, C=0.5, output=run)
    assert (run / "mark").exists()
    fit_head(features, C=0.5, output=run, force=True)
    assert not (run / "mark").exists()
    assert open_run(run).manifest.chosen == "C = 0.5"


@pytest.mark.parametrize("operation", ["rename", "exchange"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_old_run_is_there_whichever_rename_of_the_new_one_fails(
    features, run, monkeypatch, operation, code
):
    before, works, n_failures = read_all(run), getattr(disk, operation), 0

    def fail_once(source, target):
        nonlocal n_failures
        n_failures += target == run
        if target == run and n_failures == 1:
            raise OSError(code, os.strerror(code))
        works(source, target)

    if operation == "rename":  # which is used where names cannot be exchanged
        monkeypatch.setattr(disk, "exchange", _cannot_exchange)
    monkeypatch.setattr(disk, operation, fail_once)
    with pytest.raises(StorageError, match=f"Cannot write {run}"):
        fit_head(features, C=0.5, output=run, force=True)
    assert n_failures >= 1
    assert read_all(run) == before
    assert names(run.parent) == [".f.h5.lock", "f.h5", "photos", "run"]


def test_where_even_the_way_back_fails_it_is_said_where_the_old_run_lies(
    features, run, monkeypatch
):
    before, rename = [path.name for path in read_all(run)], disk.rename

    def fail(source, target):
        if target == run:
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(disk, "exchange", _cannot_exchange)
    monkeypatch.setattr(disk, "rename", fail)
    with pytest.raises(StorageError, match="lies whole in") as caught:
        fit_head(features, C=0.5, output=run, force=True)
    aside = Path(str(caught.value).rpartition(" ")[2])
    assert [path.name for path in read_all(aside)] == before


def _cannot_exchange(one, other):
    raise OSError(errno.EINVAL, "Invalid argument")


def test_two_files_that_are_not_to_be_joined_are_wrong_usage(features, tmp_path):
    for force in ([], ["--force"]):
        outcome = call("fit-head", features, features, "--output", "both", *force)
        assert outcome.exit_code == 2
        assert "Expected one, or --join" in outcome.stderr
    assert not (tmp_path / "both").exists()


def test_second_writer_of_a_run_ends_at_once_and_is_told_who_writes_it(
    features, fitted, tmp_path, monkeypatch
):
    monkeypatch.setattr("pipeline.heads.fit_head.fit", lambda *_, **__: pytest.fail("it fitted"))
    with claim_output(tmp_path / "run", force=False):
        for command in commands(features, fitted):
            for force in ([], ["--force"]):
                outcome = call(*command, "--output", "run", *force)
                assert outcome.exit_code == 1
                assert f"run is being written by process {os.getpid()} on" in outcome.stderr
    assert not (tmp_path / "run").exists()


def _write_a_run(barrier, queue):
    barrier.wait(60)
    with new_run(None, "photos-logreg") as (folder, final):
        (folder / "manifest.json").write_text(str(os.getpid()))
    queue.put((final.name, os.getpid()))


def test_runs_that_are_written_at_once_get_names_of_their_own(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, queue = context.Barrier(8), context.SimpleQueue()
    workers = [context.Process(target=_write_a_run, args=(barrier, queue)) for _ in range(8)]
    for worker in workers:
        worker.start()
    wrote = dict(queue.get() for _ in workers)
    for worker in workers:
        worker.join()
    assert names(tmp_path / "runs") == sorted(f"photos-logreg-{n}" for n in range(1, 9))
    for name, process in wrote.items():
        assert (tmp_path / "runs" / name / "manifest.json").read_text() == str(process)


def test_empty_folder_that_a_killed_process_left_is_used(tmp_path):
    (tmp_path / "runs" / "a-1").mkdir(parents=True)
    with new_run(None, "a") as (folder, final):
        (folder / "x").touch()
    assert final.name == "a-1"
    assert names(tmp_path / "runs") == ["a-1"]


def test_refused_work_leaves_no_folder(features, photos, tmp_path):
    shutil.rmtree(photos / "blue")
    shutil.rmtree(photos / "green")
    extract(photos, features, prune=True)
    for output in (None, tmp_path / "a" / "b" / "run"):
        with pytest.raises(Exception, match="only one class"):
            fit_head(features, output=output)
    assert names(tmp_path) == [".f.h5.lock", "f.h5", "photos"]


def test_claim_is_given_up_with_its_error_and_can_be_had_again(tmp_path):
    for _ in range(2):
        with pytest.raises(FeatureFileError), claim_output(tmp_path / "a/run", force=False):
            with pytest.raises(LockedError), claim_output(tmp_path / "a/run", force=False):
                pytest.fail("two hold one name")
            raise FeatureFileError("stop")
        assert names(tmp_path) == []


def test_full_disk_is_told_by_the_name_that_people_know(features, tmp_path, monkeypatch):
    def full(file, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk, "write_some", full)
    with pytest.raises(StorageError, match=f"Cannot write {tmp_path / 'run'}.*the disk is full"):
        fit_head(features, C=1.0, output=tmp_path / "run")
    assert names(tmp_path) == [".f.h5.lock", "f.h5", "photos"]
