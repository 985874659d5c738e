"""Numbers and texts in JSON that a program cannot hold, or that no file of ours has."""

import math
import os
from collections.abc import Iterator
from typing import Any

_EXPECTED_TEXT = "text without NUL, of letters that a file name can have"


def find_wild_values(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """What was expected and where, for each number and text that no run has."""
    if isinstance(value, dict):
        for name, part in value.items():
            if not _is_tame(name):
                yield _EXPECTED_TEXT, f"{place}.{shorten(ascii(name))}"
            yield from find_wild_values(part, f"{place}.{shorten(name)}")
    elif isinstance(value, list):
        for number, part in enumerate(value):
            if not _is_tame(part):  # a short cut: a matrix may hold millions
                yield from find_wild_values(part, f"{place}[{number}]")
    elif not _is_tame(value):
        is_text = isinstance(value, str)
        yield _EXPECTED_TEXT if is_text else "a finite number of 64 bits", place


def _is_tame(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" not in value and _is_made_of_bytes(value)
    if isinstance(value, bool | int):
        return -(2**63) <= value < 2**63
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None


def _is_made_of_bytes(text: str) -> bool:
    """Whether it is UTF-8 with perhaps some stray bytes, as names of files are."""
    try:
        return os.fsdecode(os.fsencode(text)) == text
    except UnicodeEncodeError:
        return False


def shorten(text: str) -> str:
    """Something from a file in a message, however long it is."""
    return text if len(text) <= 100 else text[:97] + "..."
