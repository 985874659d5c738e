"""A file has one writer, and others are told which."""

import errno
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
from conftest import run_as_nobody

from pipeline.errors import LockedError, StorageError
from pipeline.system.locks import hold_lock, hold_lock_for_now


def _hold(target, held, release):
    with hold_lock(target):
        held.set()
        release.wait(30)


def test_second_writer_is_told_who_holds_the_lock_and_a_killed_one_holds_none(tmp_path):
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path / "a.h5", held, release))
    holder.start()
    assert held.wait(30)
    with pytest.raises(LockedError) as error, hold_lock(tmp_path / "a.h5"):
        pytest.fail("two processes hold one lock")
    assert f"process {holder.pid} on" in str(error.value)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with hold_lock(tmp_path / "a.h5"):
        assert json.loads((tmp_path / ".a.h5.lock").read_text())["pid"] == os.getpid()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="there is no /proc")
def test_folder_in_which_no_lock_file_can_be_made_is_named_and_no_other_process_blamed():
    with (
        pytest.raises(StorageError, match="No lock file can be made in /proc") as error,
        hold_lock(Path("/proc/x.h5")),
    ):
        pytest.fail("there is no lock file to hold")
    assert "process" not in str(error.value)


def test_lock_in_a_folder_without_the_right_to_write_is_a_storage_error(tmp_path):
    def lock():
        with hold_lock(tmp_path / "x.h5"):
            pass

    with pytest.raises(StorageError, match="permission denied") as error:
        run_as_nobody(lock, tmp_path)
    assert str(tmp_path) in str(error.value)


def test_folder_where_a_file_name_is_expected_is_refused_and_gets_no_lock_file(tmp_path):
    (tmp_path / "folder").mkdir()
    with (
        pytest.raises(StorageError, match=r"a folder\. Expected the name of a file") as error,
        hold_lock(tmp_path / "folder"),
    ):
        pytest.fail("a folder is no file")
    assert f"Received: {tmp_path / 'folder'}" in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_lock_for_now_leaves_no_trace_even_where_nothing_can_be_written(tmp_path, monkeypatch):
    target = tmp_path / "new" / "run"
    with hold_lock_for_now(target):
        assert (tmp_path / "new" / ".run.lock").exists()
        with pytest.raises(LockedError), hold_lock_for_now(target):
            pytest.fail("two hold one lock")
    assert list(tmp_path.iterdir()) == []

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StorageError, match="disk is full"), hold_lock_for_now(target):
        pytest.fail("nobody would know who holds it")
    assert list(tmp_path.iterdir()) == []
