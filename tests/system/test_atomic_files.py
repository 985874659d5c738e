"""A file that could not be written whole is the old one."""

import errno
import json

import pytest

from pipeline.errors import StorageError
from pipeline.system import atomic_files as files
from pipeline.system import disk


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    target = tmp_path / "a.json"
    files.write_json(target, {"a": 1})

    def full(file, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk, "write_some", full)
    with pytest.raises(StorageError, match="disk is full"):
        files.write_json(target, {"a": 2})
    assert json.loads(target.read_text()) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_short_writes_are_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(disk, "write_some", lambda file, data: file.write(data[:3]))
    files.write_bytes(tmp_path / "a", b"0123456789")
    assert (tmp_path / "a").read_bytes() == b"0123456789"
