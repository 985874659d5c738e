"""Temporary names, and what processes that are dead left under them."""

import glob
import os
import shutil
import socket
from pathlib import Path

TEMPORARY_PREFIX = ".frostline-tmp-"


def temporary_start() -> str:
    """How all names begin that this process gives to what is not yet whole."""
    return f"{TEMPORARY_PREFIX}{os.getpid()}@{socket.gethostname()}-"


def remove_leftovers(target: Path) -> None:
    """Removes temporary files and folders for `target` whose process is dead."""
    for leftover in target.parent.glob(f"{TEMPORARY_PREFIX}*-{glob.escape(target.name)}"):
        process, _, host = leftover.name.removeprefix(TEMPORARY_PREFIX).partition("@")
        if host.startswith(f"{socket.gethostname()}-") and not _is_alive(int(process)):
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
