"""Temporary names, and what processes that are dead left under them.

A name tells by hashes and numbers of fixed length which process gave it and for which target, so
that no two can be taken for each other, however hosts and files are called.
"""

import hashlib
import os
import re
import secrets
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path

TEMPORARY_PREFIX = ".frostline-tmp-"
ASIDE_PREFIX = ".frostline-old-"
_LONGEST_SUFFIX = 20  # characters
_NAME = re.compile(
    r"(?P<prefix>\.frostline-(?:tmp|old)-)(?P<host>[0-9a-f]{12})-(?P<process>\d+)-(?P<started>\d+)-"
    r"(?P<target>[0-9a-f]{12})-"
)


@dataclass(frozen=True)
class Owner:
    """A process, of all that ever were on all hosts.

    Args:
        host: hash of the host's name.
        process: its number.
        started: when, in the kernel's ticks since it was booted; 0 where the system does not say.
    """

    host: str
    process: int
    started: int

    @classmethod
    def myself(cls) -> "Owner":
        process = os.getpid()
        return cls(_hash(socket.gethostname()), process, _read_start(process) or 0)

    def is_dead(self) -> bool:
        """Whether it is known to have ended; of other hosts nothing is known."""
        if self.host != _hash(socket.gethostname()):
            return False
        try:
            os.kill(self.process, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # another user's; it is there
        started = _read_start(self.process)
        return started is not None and started != self.started


def temporary_path(target: Path, prefix: str = TEMPORARY_PREFIX) -> Path:
    """A name beside `target`, with its suffix, that nothing has, for what is not yet whole."""
    me = Owner.myself()
    suffix = target.suffix if len(target.suffix) <= _LONGEST_SUFFIX else ""
    return target.with_name(
        f"{prefix}{me.host}-{me.process}-{me.started}-{_hash(target.name)}-"
        f"{secrets.token_hex(4)}{suffix}"
    )


def remove_leftovers(target: Path) -> None:
    """Removes what processes that are dead left for `target`.

    What stepped aside for a successor that never came gets its name back.
    """
    for leftover in target.parent.glob(".frostline-*"):
        found = _NAME.match(leftover.name)
        if found is None or found["target"] != _hash(target.name):
            continue
        if not Owner(found["host"], int(found["process"]), int(found["started"])).is_dead():
            continue
        if found["prefix"] == ASIDE_PREFIX and not target.exists():
            leftover.rename(target)
        elif leftover.is_dir() and not leftover.is_symlink():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _hash(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:12]


def _read_start(process: int) -> int | None:
    """When a process began, in ticks; None where the system does not say."""
    try:
        status = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return None
    # The name in brackets, which may hold anything, is the second field; the start is the 22nd.
    return int(status.rpartition(b")")[2].split()[19])
