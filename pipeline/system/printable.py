"""Names and values as text that any terminal can show and any program can read."""

import codecs
import json
import math
from collections.abc import Iterable, Sequence


def printable(text: str) -> str:
    """A name as one line that any terminal can show: control characters and stray bytes escaped."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def printable_lines(text: str) -> str:
    """Text with its own line breaks, and everything else as `printable` shows it."""
    return "\n".join(printable(line) for line in text.split("\n"))


def visible(name: str) -> str:
    """A name as `printable` shows it, in quotes where spaces at its ends would be overlooked."""
    shown = printable(name)
    return shown if shown.strip() == shown != "" else repr(shown)


def count(number: int, word: str) -> str:
    """`1 image`, `2 images`, `3 classes`."""
    ending = "" if number == 1 else "es" if word.endswith("s") else "s"
    return f"{number:,} {word}{ending}"


def describe_duration(seconds: float) -> str:
    """`45 s`, `9 min 30 s` or `1 h 30 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min" + (f" {whole % 60} s" if whole % 60 else "")
    minutes = round(seconds / 60)
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def to_json(value: object) -> str:
    """Indented JSON for any program and any terminal.

    What `printable` escapes in a name is escaped here, too, the way that JSON has for it, so the
    name is the same to whoever reads it, stray bytes included. A list of nothing but numbers takes
    one line, so a matrix takes a line a row.
    """
    text = _indent_json(value)
    return "\n".join(
        line if line.isprintable() else "".join(map(_escape_in_json, line))
        for line in text.split("\n")
    )


def without_nan(value: object) -> object:
    """The same value for JSON, None in place of NaN and infinities, for which JSON has no word."""
    if isinstance(value, dict):
        return {name: without_nan(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _escape_in_json(letter: str) -> str:
    return letter if letter.isprintable() else json.dumps(letter)[1:-1]


def _bytes_as_they_came(error: UnicodeError) -> tuple[str | bytes, int]:
    """Stray bytes of a name leave as they came; other letters that have no code are escaped."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return b"".join(map(_encode_stray, letters)), error.end


def _encode_stray(letter: str) -> bytes:
    if "\udc80" <= letter <= "\udcff":
        return letter.encode("ascii", "surrogateescape")
    return letter.encode("ascii", "backslashreplace")


AS_THEY_CAME = "frostline-as-they-came"  # how a stream treats letters that its encoding lacks
codecs.register_error(AS_THEY_CAME, _bytes_as_they_came)


def _indent_json(value: object, margin: str = "") -> str:
    """As json.dumps with an indent of 2, which would take a line for each number."""

    def encode(part: object) -> str:
        return _indent_json(part, margin + "  ")

    if isinstance(value, dict) and value:
        names = (json.dumps({name: 0}, ensure_ascii=False)[1:-4] for name in value)
        parts = [
            f"{name}: {encode(part)}" for name, part in zip(names, value.values(), strict=True)
        ]
    elif isinstance(value, (list, tuple)) and not _are_numbers(value):
        parts = [encode(part) for part in value]
    else:
        return json.dumps(value, ensure_ascii=False)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    inner = f",\n{margin}  ".join(parts)
    return f"{opening}\n{margin}  {inner}\n{margin}{closing}"


def _are_numbers(values: Iterable[object]) -> bool:
    return all(type(value) in (int, float) for value in values)


def name_some(names: Sequence[str], n_shown: int = 3) -> str:
    """Names for a message, however many there are: the first few, each in quotes, and a count."""
    more = len(names) - n_shown
    shown = ", ".join(map(repr, names[:n_shown]))
    return f"{shown} and {more:,} more" if more > 0 else shown
