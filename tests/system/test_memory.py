"""Tests of how much memory there is and how a user says how much may be taken."""

import errno
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import call

from pipeline.errors import OutOfMemoryError
from pipeline.system import memory
from pipeline.system.memory import available_bytes, parse_memory, require_memory

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("2GB", 2_000_000_000),
        ("500 MB", 500_000_000),
        ("64kB", 64_000),
        ("1.5GiB", 1_610_612_736),
        ("1TiB", 1_099_511_627_776),
        ("3mib", 3_145_728),
        ("100B", 100),
        ("4096000", 4_096_000),
    ],
)
def test_sizes_are_read_in_decimal_and_binary_units(text, n_bytes):
    assert parse_memory(text) == n_bytes


def test_a_share_is_one_of_what_is_available(monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 8000)
    assert parse_memory("50%") == 4000
    assert parse_memory("12.5 %") == 1000


@pytest.mark.parametrize(
    "text", ["", "much", "-2GB", "0", "2", "4096", "0%", "101%", "2XB", "2 G B", "1e9"]
)
def test_what_is_no_size_is_wrong_usage(extracted, text):
    with pytest.raises(ValueError, match="expected a size such as 2GB"):
        parse_memory(text)
    outcome = call("fit-head", extracted / "features.h5", f"--memory={text}")
    assert outcome.exit_code == 2
    assert "--memory" in outcome.stderr
    assert repr(text) in outcome.stderr


def test_a_container_may_leave_less_than_the_machine(tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._read_container(tmp_path) is None
    (tmp_path / "memory.max").write_text("3000\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert memory._read_container(tmp_path) == 2000
    assert memory._read_container(tmp_path / "nothing") is None


def test_there_is_some_memory_and_not_more_than_the_machine_has():
    assert 2**20 < available_bytes() < 2**50


def test_work_that_the_limit_has_no_room_for_is_refused_before_a_library_hangs(extracted, tmp_path):
    """With 440,000 kB OpenBLAS spins for ever and OpenVINO aborts."""
    command = shlex.join(map(str, [sys.executable, ROOT / "cli.py", "fit-head", "features.h5"]))
    shutil.copy(extracted / "features.h5", tmp_path)
    done = subprocess.run(
        ["bash", "-c", f"ulimit -v 440000; exec {command}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Fitting a head needs 500 MB of addresses.")
    assert "are left of 451 MB (`ulimit -v`)" in done.stderr
    assert done.stderr.count("\n") == 2
    assert not (tmp_path / "runs").exists()


def test_memory_that_is_taken_counts_against_the_limit(monkeypatch):
    require_memory(10**15, "This")  # nobody limits the tests
    monkeypatch.setattr(memory, "_read_limit", lambda: memory._read_taken() + 10**9)
    require_memory(9 * 10**8, "This")
    with pytest.raises(OutOfMemoryError, match="This needs 1,100 MB of addresses"):
        require_memory(11 * 10**8, "This")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        RuntimeError("Exception from src/inference/src/dev/plugin.cpp:54:\nstd::bad_alloc"),
        ImportError("libtensorflow_cc.so.2: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
    ],
)
def test_want_of_memory_is_one_message_in_whichever_words_a_library_says_it(
    error, extracted, monkeypatch
):
    def fail(*arguments, **settings):
        raise error

    monkeypatch.setattr("pipeline.heads.fit_head.fit", fail)
    outcome = call("fit-head", extracted / "features.h5")
    assert outcome.exit_code == 1
    assert outcome.stderr.startswith("Error: There is not enough memory for this.")
    monkeypatch.setattr("pipeline.heads.fit_head.fit", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call("fit-head", extracted / "features.h5")
