"""The standard streams of a process that was started without them (`>&-`, `2>&-`)."""

import os
import sys


def open_closed_streams() -> None:
    """Opens the null device in place of each standard stream that is closed.

    Otherwise the next file that is opened gets its number: a feature file would be descriptor 2,
    and whatever a library says on stderr would be written into it.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest free number, so this one
            os.set_inheritable(opened, True)  # child processes have the same need
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
