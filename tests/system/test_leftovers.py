"""What a killed process left is removed, and nothing else."""

import multiprocessing
import os
import socket
import subprocess
from pathlib import Path

import pytest

from pipeline.system import leftovers
from pipeline.system.atomic_files import write_bytes
from pipeline.system.leftovers import ASIDE_PREFIX, remove_leftovers, temporary_path


def name_by_a_dead_process(target, *arguments):
    """What a process that has ended since called its temporary file."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=lambda: queue.put(temporary_path(target, *arguments)))
    child.start()
    child.join()
    return queue.get()


def name_on_host(monkeypatch, host, target):
    with monkeypatch.context() as patch:
        patch.setattr(socket, "gethostname", lambda: host)
        return name_by_a_dead_process(target)


def test_leftover_of_a_dead_process_is_removed_and_of_a_living_one_kept(tmp_path, monkeypatch):
    target = tmp_path / "a"
    dead, alive = name_by_a_dead_process(target), temporary_path(target)
    elsewhere = name_on_host(monkeypatch, "another-host", target)
    for path in (dead, alive, elsewhere):
        path.write_text("half")
    write_bytes(target, b"whole")
    assert not dead.exists()
    assert alive.exists()
    assert elsewhere.exists()


@pytest.mark.parametrize(
    ("writer", "its_target", "host", "target"),
    [
        ("gpu-2", "my-run", "gpu", "run"),
        ("gpu-2", "run", "gpu", "2-run"),
        ("gpu", "my-run", "gpu", "run"),
        ("gpu", "run", "gpu", "my-run"),
        ("gpu-2", "run", "gpu", "run"),
        ("g[p]u", "[r]un", "gpu", "run"),
    ],
)
def test_work_of_other_hosts_and_for_other_targets_is_never_a_leftover(
    tmp_path, monkeypatch, writer, its_target, host, target
):
    """Live work of host gpu-2 for my-run is none of host gpu's business, which writes run."""
    work = name_on_host(monkeypatch, writer, tmp_path / its_target)
    work.mkdir()
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    write_bytes(tmp_path / target, b"whole")
    assert work.exists()


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the system does not say")
def test_a_process_that_got_the_number_of_a_dead_one_keeps_nothing_alive(tmp_path, monkeypatch):
    target = tmp_path / "a"
    with subprocess.Popen(["sleep", "60"]) as other:
        monkeypatch.setattr(os, "getpid", lambda: other.pid)
        its_own = temporary_path(target)
        monkeypatch.setattr(leftovers, "_read_start", lambda process: 1)
        of_one_before = temporary_path(target)
        monkeypatch.undo()
        for path in (its_own, of_one_before):
            path.write_text("half")
        remove_leftovers(target)
        other.kill()
    assert its_own.exists()
    assert not of_one_before.exists()


def test_what_stepped_aside_for_a_successor_that_never_came_gets_its_name_back(tmp_path):
    target = tmp_path / "run"
    aside = name_by_a_dead_process(target, ASIDE_PREFIX)
    aside.mkdir()
    (aside / "head.npz").write_text("old")
    remove_leftovers(target)
    assert (target / "head.npz").read_text() == "old"
    aside.mkdir()  # and now the successor is there
    remove_leftovers(target)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_temporary_name_keeps_the_suffix_and_fits_any_file_system(tmp_path):
    assert temporary_path(tmp_path / "a.keras").suffix == ".keras"
    write_bytes(tmp_path / ("a" * 251 + ".npz"), b"whole")
    write_bytes(tmp_path / ("a." + "b" * 253), b"whole")
