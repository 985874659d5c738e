"""Paths that a click opens, in terminals that can: OSC 8.

Source: https://gist.github.com/egmontkob/eb114294efbcd5adb1944c9f3cb5feda. A terminal that does not
know them may show their inside, so only those that are known to are given any.
"""

from collections.abc import Mapping
from pathlib import Path

_TERMS = ("xterm-kitty", "alacritty", "foot", "wezterm", "xterm-ghostty", "contour")
_PROGRAMS = ("iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper", "Tabby", "rio")
_MARKS = ("KITTY_WINDOW_ID", "WT_SESSION", "KONSOLE_VERSION", "DOMTERM")
_FIRST_VTE = 5000  # version 0.50 of GNOME's


def can_link(environ: Mapping[str, str]) -> bool:
    """Whether the terminal of these variables knows links; `FORCE_HYPERLINK` (0 or 1) decides."""
    forced = environ.get("FORCE_HYPERLINK")
    if forced is not None:
        return forced not in ("", "0")
    if environ.get("TERM", "dumb") in ("dumb", "linux"):
        return False
    vte = environ.get("VTE_VERSION", "")
    return (
        environ["TERM"] in _TERMS
        or environ.get("TERM_PROGRAM") in _PROGRAMS
        or any(mark in environ for mark in _MARKS)
        or (vte.isdecimal() and int(vte) >= _FIRST_VTE)
    )


def make_link(shown: str, file: Path) -> str:
    """Text that opens a file.

    Args:
        shown: printable.
        file: absolute.
    """
    return f"\x1b]8;;{file.as_uri()}\x1b\\{shown}\x1b]8;;\x1b\\"


def find_file(root: str | Path, path: str) -> Path | None:
    """The file of an image, absolute; None where there is none."""
    try:
        file = (Path(root) / path).absolute()
        return file if file.is_file() else None
    except (OSError, ValueError):
        return None


def name_file(file: Path) -> str:
    """How to call a file so that a shell here finds it: below this folder, or in full."""
    here = Path.cwd()
    return str(file.relative_to(here) if file.is_relative_to(here) else file)
