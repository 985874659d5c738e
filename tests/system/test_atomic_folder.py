"""A folder appears whole or not at all, and what it replaces is there until then."""

import errno
import itertools
import os

import pytest

from pipeline.errors import StorageError
from pipeline.system import disk
from pipeline.system.atomic_folder import atomic_folder


@pytest.fixture
def old(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "head").write_text("old")
    return tmp_path / "run"


def write_new(target, **how):
    with atomic_folder(target, **how) as folder:
        (folder / "head").write_text("new")
        (folder / "plots").mkdir()
        (folder / "plots" / "a.png").write_text("new")


def yes(folder):
    return True


def cannot(code):
    def fail(*arguments):
        raise OSError(code, os.strerror(code))

    return fail


def test_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "run") as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_folder_takes_the_place_of_another_only_where_it_may(old):
    with pytest.raises(StorageError, match="in the way"):
        write_new(old)
    with pytest.raises(StorageError, match="in the way"):
        write_new(old, may_replace=lambda folder: (folder / "head").read_text() == "mine")
    assert (old / "head").read_text() == "old"
    write_new(old, may_replace=yes)
    assert (old / "head").read_text() == "new"
    assert [path.name for path in old.parent.iterdir()] == ["run"]


def test_a_file_and_the_target_of_a_link_are_what_they_are(old, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StorageError, match="a file of that name is in the way"):
        write_new(tmp_path / "file", may_replace=yes)
    assert (tmp_path / "file").read_text() == "mine"
    (tmp_path / "link").symlink_to(old)
    write_new(tmp_path / "link", may_replace=yes)
    assert (tmp_path / "link").is_symlink()
    assert (old / "head").read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"run", "file", "link"}


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("operation", ["rename", "exchange", "fsync"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES])
def test_whichever_operation_fails_one_whole_folder_has_the_name(
    old, monkeypatch, operation, code, can_exchange
):
    """At each of them in turn; a rename that fails for good cannot be rolled back by renames."""
    for number in itertools.count(1):
        monkeypatch.undo()
        if not can_exchange:
            monkeypatch.setattr(disk, "exchange", cannot(errno.ENOSYS))
        (old / "head").write_text("old")
        works, calls = getattr(disk, operation), itertools.count(1)

        def fail_once(*arguments, works=works, calls=calls, number=number):
            if next(calls) == number:
                raise OSError(code, os.strerror(code))
            works(*arguments)

        monkeypatch.setattr(disk, operation, fail_once)
        try:
            write_new(old, may_replace=yes)
        except StorageError as error:
            assert str(old) in str(error)
        assert (old / "head").read_text() in ("old", "new")
        assert [path.name for path in old.parent.iterdir()] == ["run"]
        if next(calls) <= number:
            break


def test_folder_that_a_killed_process_left_aside_comes_back(old):
    """On a file system that cannot exchange, killed between the two renames."""
    child = os.fork()
    if child == 0:
        disk.exchange = cannot(errno.EINVAL)
        rename = disk.rename
        disk.rename = lambda one, other: (rename(one, other), os._exit(9))
        write_new(old, may_replace=yes)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not old.exists()
    with pytest.raises(StorageError, match="in the way"):
        write_new(old)
    assert (old / "head").read_text() == "old"
    assert [path.name for path in old.parent.iterdir()] == ["run"]


def test_two_names_are_exchanged_in_one_step_or_nothing_is_changed(old, tmp_path):
    (tmp_path / "file").write_text("file")
    disk.exchange(old, tmp_path / "file")
    assert old.read_text() == "file"
    assert (tmp_path / "file" / "head").read_text() == "old"
    with pytest.raises(FileNotFoundError):
        disk.exchange(old, tmp_path / "nothing")
    assert old.read_text() == "file"
