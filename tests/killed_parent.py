"""A program that starts child processes and is killed, and what becomes of the children."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 60.0
ENDS = [signal.SIGKILL, signal.SIGTERM]  # how a program that nobody wants any more is ended


def survivors_of_a_kill(
    program: str, folder: Path, n_children: int, end: signal.Signals
) -> list[int]:
    """Runs a program, ends it and returns which children outlive it by ten seconds.

    Args:
        program: Python that makes each child write a file `child-PID` to the current folder, and
            then waits. What is in `folder` can be imported.
        end: the signal.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, folder)))}
    with subprocess.Popen([sys.executable, "-c", program], cwd=folder, env=environment) as parent:
        children = _wait_for_children(parent, folder, n_children)
        assert all(map(_is_running, children))
        parent.send_signal(end)
    deadline = time.monotonic() + 10
    while any(map(_is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [child for child in children if _is_running(child)]
    for child in left:
        os.kill(child, signal.SIGKILL)
    return left


def _wait_for_children(parent: subprocess.Popen, folder: Path, n_children: int) -> list[int]:
    deadline = time.monotonic() + SECONDS
    while len(notes := list(folder.glob("child-*"))) < n_children:
        assert parent.poll() is None, "the program ended before it was killed"
        assert time.monotonic() < deadline, f"{len(notes)} of {n_children} children came up"
        time.sleep(0.05)
    return [int(note.name.removeprefix("child-")) for note in notes]


def _is_running(process: int) -> bool:
    """Whether a process is there; one that is dead and not yet buried is not."""
    try:
        os.kill(process, 0)
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        return Path("/proc").exists() is False
    return state != "Z"
