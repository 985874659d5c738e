"""How a process ends that is told to: Ctrl-C, SIGTERM and SIGHUP are one and the same.

The first of them raises in the main thread, so that whatever is open is closed, removed or kept as
for any other error; the next one ends the process at once.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Ending:
    """The signal that told this process to end; None as long as none has."""

    def __init__(self) -> None:
        self.signal: int | None = None


@contextmanager
def raising_when_told_to_end() -> Iterator[Ending]:
    """While this holds, the first of the signals raises KeyboardInterrupt.

    What else is raised after that is likely its consequence: ask the `Ending` that this gives.
    A signal that is ignored, as by `nohup`, stays so.
    """
    ending = Ending()

    def end(number: int, frame: FrameType | None) -> None:
        del frame
        ending.signal = number
        end_at_once_when_told()
        raise KeyboardInterrupt

    before = {number: signal.signal(number, end) for number in _heard()}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ending_at_once_when_told() -> Iterator[None]:
    """While this holds, a signal ends the process without a word: Python's is a traceback."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in _heard()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_at_once_when_told() -> None:
    """From now on a signal ends the process without a word."""
    for number in _heard():
        signal.signal(number, signal.SIG_DFL)


def _heard() -> list[int]:
    """Signals that are not ignored; none outside the main thread, which alone may set them."""
    if threading.current_thread() is not threading.main_thread():
        return []
    # None stands for a handler that is not Python's, which cannot be put back.
    deaf = (signal.SIG_IGN, None)
    return [number for number in _SIGNALS if signal.getsignal(number) not in deaf]
