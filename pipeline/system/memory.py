"""How much memory there is and a process may take, and what to say where it is too little."""

import errno
import os
import re
import sys
from pathlib import Path

from pipeline.errors import OutOfMemoryError

_UNITS = (
    {"": 1}
    | {
        f"{prefix}{unit}": base**power
        for unit, base in (("B", 1000), ("iB", 1024))
        for power, prefix in enumerate(("k", "M", "G", "T"), start=1)
    }
    | {"B": 1}
)
_LEAST_BARE_NUMBER = 10**6  # of bytes, where no unit says so
_ASSUMED_BYTES = 4 * 2**30  # where the system does not say
# Of addresses, for scipy and scikit-learn; with 200 MB OpenBLAS was seen to spin for ever.
SCIPY_BYTES = 500 * 10**6
_WAY_OUT = (
    "Raise the limit of this process (`ulimit -v`) or of its container, end other programs, or "
    "use a machine with more memory."
)
# What libraries say, whatever class of error they say it with.
_WANT_OF_MEMORY = re.compile(
    r"bad_alloc|out of memory|cannot allocate memory|failed to allocate memory|can't alloc|"
    r"failed to map segment|can't start new thread|resource temporarily unavailable",
    re.IGNORECASE,
)


def parse_memory(text: str) -> int:
    """Bytes of a size such as `2GB`, `500MB` or `1.5GiB`, or of a share such as `50%`.

    A share is one of the memory that is available now.

    Raises:
        ValueError: it is neither.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%|[kMGT]?i?B|)\s*", text, re.IGNORECASE)
    if found:
        number, unit = float(found[1]), found[2]
        if unit == "%" and 0 < number <= 100:
            return int(number / 100 * available_bytes())
        scales = {name.lower(): scale for name, scale in _UNITS.items()}
        # `16` is meant in gigabytes by those who type it.
        is_size = number > 0 if unit else number >= _LEAST_BARE_NUMBER
        if unit.lower() in scales and is_size:
            return int(number * scales[unit.lower()])
    raise ValueError(
        "expected a size such as 2GB, 500MB or 1.5GiB, or a share of the memory that is free, "
        f"such as 50%, received {text!r}"
    )


def available_bytes() -> int:
    """Memory that a program may still take: of the machine, or of its container if that is less."""
    known = [_read_meminfo(), _read_container()]
    return max(1, min((size for size in known if size is not None), default=_ASSUMED_BYTES))


def _read_meminfo() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text("ascii")
    except OSError:
        text = ""
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    if found:
        return int(found[1]) * 1024
    try:  # no Linux: half of what is built in
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, OSError, ValueError):
        return None


def _read_container(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """What the control group's limit leaves: version 2, then version 1."""
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            left = int((root / limit).read_text()) - int((root / used).read_text())
        except (OSError, ValueError):  # no such group, or "max"
            continue
        return max(0, left)
    return None


def require_memory(n_bytes: int, user: str) -> None:
    """Whether this process may take so much more memory, by the limit that `ulimit -v` sets.

    To be asked before a library is loaded that cannot live with less: in want of memory they abort
    the process, spin for ever or speak in riddles (seen: OpenVINO, OpenBLAS, TensorFlow).

    Args:
        n_bytes: of addresses, which is what the limit counts.
        user: who needs them, for the message.

    Raises:
        OutOfMemoryError: it may not.
    """
    limit = _read_limit()
    if limit is None:
        return
    left = limit - _read_taken()
    if left < n_bytes:
        raise OutOfMemoryError(
            f"{user} needs {n_bytes / 1e6:,.0f} MB of addresses. Expected a limit that leaves "
            f"these. Received: {max(0, left) / 1e6:,.0f} MB are left of {limit / 1e6:,.0f} MB "
            f"(`ulimit -v`).\n{_WAY_OUT}"
        )


def describe_want_of_memory(error: BaseException) -> str | None:
    """What to say where an error means that there was no memory; None where it means another."""
    is_want = isinstance(error, MemoryError) or (
        isinstance(error, OSError) and error.errno == errno.ENOMEM
    )
    if not (is_want or _WANT_OF_MEMORY.search(str(error))):
        return None
    return f"There is not enough memory for this. What was finished is kept.\n{_WAY_OUT}"


def _read_limit() -> int | None:
    """Bytes of addresses that this process may take at most; None for as many as it likes."""
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit


def _read_taken() -> int:
    """Bytes of addresses that this process has; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[0]) * os.sysconf(
            "SC_PAGE_SIZE"
        )
    except OSError:
        return 0
