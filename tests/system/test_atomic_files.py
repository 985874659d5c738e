import errno
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from conftest import run_as_nobody

from pipeline.errors import LockedError, StorageError
from pipeline.system import atomic_files as files


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "a.json"
    files.write_json(target, {"a": 1})

    def full(file, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "write_some", full)
    with pytest.raises(StorageError, match="disk is full"):
        files.write_json(target, {"a": 2})
    assert json.loads(target.read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_short_writes_are_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "write_some", lambda file, data: file.write(data[:3]))
    files.write_bytes(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"


def test_leftover_of_a_dead_process_is_removed_and_of_a_living_one_kept(tmp_path):
    child = multiprocessing.get_context("fork").Process(target=lambda: None)
    child.start()
    child.join()
    host = os.uname().nodename
    dead = tmp_path / f"{files.TEMPORARY_PREFIX}{child.pid}@{host}-a"
    alive = tmp_path / f"{files.TEMPORARY_PREFIX}{os.getppid()}@{host}-a"
    elsewhere = tmp_path / f"{files.TEMPORARY_PREFIX}{child.pid}@another-host-a"
    for path in (dead, alive, elsewhere):
        path.write_text("half")
    files.write_bytes(tmp_path / "a", b"whole")
    assert not dead.exists()
    assert alive.exists()
    assert elsewhere.exists()


def test_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), files.atomic_folder(tmp_path / "run") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def _hold(target, held, release):
    with files.hold_lock(target):
        held.set()
        release.wait(30)


def test_second_writer_is_told_who_holds_the_lock_and_a_killed_one_holds_none(tmp_path):
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "a.h5", held, release))
    holder.start()
    assert held.wait(30)
    with pytest.raises(LockedError) as error, files.hold_lock(tmp_path / "a.h5"):
        pytest.fail("two processes hold one lock")
    assert f"process {holder.pid} on" in str(error.value)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with files.hold_lock(tmp_path / "a.h5"):
        assert json.loads((tmp_path / ".a.h5.lock").read_text())["pid"] == os.getpid()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_folder_in_which_no_lock_file_can_be_made_is_named_and_no_other_process_blamed():
    with (
        pytest.raises(StorageError, match="No lock file can be made in /proc") as error,
        files.hold_lock(Path("/proc/x.h5")),
    ):
        pytest.fail("there is no lock file to hold")
    assert "process" not in str(error.value)


def test_lock_in_a_folder_without_the_right_to_write_is_a_storage_error(tmp_path):
    def lock():
        with files.hold_lock(tmp_path / "x.h5"):
            pass

    with pytest.raises(StorageError, match="permission denied") as error:
        run_as_nobody(lock, tmp_path)
    assert str(tmp_path) in str(error.value)


def test_folder_where_a_file_name_is_expected_is_refused_and_gets_no_lock_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(StorageError, match=r"a folder\. Expected the name of a file") as error,
        files.hold_lock(tmp_path / "folder"),
    ):
        pytest.fail("a folder is no file")
    assert f"Received: {tmp_path / 'folder'}" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
