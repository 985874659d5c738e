"""Keeps the stack on which this thread handles signals, where a library would give it another.

OpenVINO's CPU plugin sets one of 20 kB. On a processor with AMX the kernel puts 11 kB of registers
on it for a signal, and the dynamic loader as many again when Python's handler first calls a
function: too much, and the process ends by a segmentation fault instead of Ctrl-C (seen, in a fifth
of all tries).
"""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class _Stack(ctypes.Structure):
    """`stack_t` of Linux."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def signal_stack_kept() -> Iterator[None]:
    """Whatever a library sets meanwhile is taken back; elsewhere than on Linux none does."""
    if sys.platform != "linux":
        yield
        return
    set_stack = ctypes.CDLL(None).sigaltstack
    before = _Stack()
    set_stack(None, ctypes.byref(before))
    try:
        yield
    finally:
        set_stack(ctypes.byref(before), None)
