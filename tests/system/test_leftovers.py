"""What a killed process left is removed, and nothing else."""

import multiprocessing
import os

from pipeline.system.atomic_files import write_bytes
from pipeline.system.leftovers import TEMPORARY_PREFIX


def test_leftover_of_a_dead_process_is_removed_and_of_a_living_one_kept(tmp_path):
    child = multiprocessing.get_context("fork").Process(target=lambda: None)
    child.start()
    child.join()
    host = os.uname().nodename
    dead = tmp_path / f"{TEMPORARY_PREFIX}{child.pid}@{host}-a"
    alive = tmp_path / f"{TEMPORARY_PREFIX}{os.getppid()}@{host}-a"
    elsewhere = tmp_path / f"{TEMPORARY_PREFIX}{child.pid}@another-host-a"
    for path in (dead, alive, elsewhere):
        path.write_text("half")
    write_bytes(tmp_path / "a", b"whole")
    assert not dead.exists()
    assert alive.exists()
    assert elsewhere.exists()
