"""A sieve for what libraries in C++ write to stderr: their start-up talk stops, errors pass.

TensorFlow, absl and CUDA write past Python, and no setting reaches all of it. The sieve is a
process of its own, so that the last words of a process that dies are not lost with it.
"""

import atexit
import os
import subprocess
import sys

# Lines of absl (`I0000 00:00:17 gpu_device.cc:20] ...`) and of TensorFlow's older logging, of the
# levels of information and of warnings.
_SIEVE = r"""
import re, sys
talk = re.compile(
    rb"[IW]\d{4} +\d\d:\d\d:[^\]]*\]|WARNING: All log messages before absl::InitializeLog"
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+: [IW] "
)
for line in iter(sys.stdin.buffer.readline, b""):
    if not talk.match(line):
        sys.stderr.buffer.write(line)
        sys.stderr.buffer.flush()
"""
_SECONDS_TO_END = 5.0
_is_wanted = [False]


def want_sieve() -> None:
    """For a program whose stderr is for people; the sieve begins with what talks, see
    `quiet_start.py`.

    What Python itself writes to stderr goes past it, so a progress bar still has a terminal.
    """
    _is_wanted[:] = [True]
    now = sys.stderr
    now.flush()
    sys.stderr = os.fdopen(
        os.dup(2), "w", buffering=1, encoding=now.encoding, errors="backslashreplace"
    )


def begin_sieve() -> None:
    """Puts the sieve, if one is wanted, between stderr and all of this process but Python."""
    if not _is_wanted[0]:
        return
    _is_wanted[:] = [False]
    outlet, inlet = os.pipe()
    command = [sys.executable, "-S", "-E", "-c", _SIEVE]
    sieve = subprocess.Popen(
        command,
        stdin=outlet,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # no Ctrl-C for it
    )
    os.close(outlet)
    direct = os.dup(2)
    os.dup2(inlet, 2)
    os.close(inlet)
    atexit.register(_end, sieve, direct)


def _end(sieve: "subprocess.Popen[bytes]", direct: int) -> None:
    """Waits for what is still on its way."""
    os.dup2(direct, 2)
    try:
        sieve.wait(_SECONDS_TO_END)
    except subprocess.TimeoutExpired:  # a child that goes on has the other end, too
        sieve.kill()
