"""How much memory there is, and how much of it a user allows."""

import os
import re
from pathlib import Path

_UNITS = (
    {"": 1}
    | {
        f"{prefix}{unit}": base**power
        for unit, base in (("B", 1000), ("iB", 1024))
        for power, prefix in enumerate(("k", "M", "G", "T"), start=1)
    }
    | {"B": 1}
)
_ASSUMED_BYTES = 4 * 2**30  # where the system does not say


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
        if unit.lower() in scales and number > 0:
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
