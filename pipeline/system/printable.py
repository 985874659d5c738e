"""Names and values as text that any terminal can show and any program can read."""

import json
from collections.abc import Sequence


def printable(text: str) -> str:
    """A name as one line that any terminal can show: control characters and stray bytes escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def printable_lines(text: str) -> str:
    """Text with its own line breaks, and everything else as `printable` shows it."""
    return "\n".join(printable(line) for line in text.split("\n"))


def to_json(value: object) -> str:
    """Indented JSON for any program: in ASCII where a name has bytes that are no UTF-8."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=2)
    return text


def name_some(names: Sequence[str], n_shown: int = 3) -> str:
    """Names for a message, however many there are: the first few, each in quotes, and a count."""
    more = len(names) - n_shown
    shown = ", ".join(map(repr, names[:n_shown]))
    return f"{shown} and {more:,} more" if more > 0 else shown
