"""TensorFlow's start-up talk, which C++ writes to stderr past Python, kept off the screen."""

import contextlib
import os
import sys
from collections.abc import Iterator

from pipeline.system.sieved_stderr import begin_sieve
from pipeline.system.standard_streams import open_closed_streams

_depth = [0]


@contextlib.contextmanager
def no_start_up_talk() -> Iterator[None]:
    """For the first import of TensorFlow, Keras or KerasHub; exceptions pass as ever.

    What TensorFlow says afterwards goes through the sieve, where the program wants one.
    """
    open_closed_streams()
    sys.stderr.flush()
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    _depth[0] += 1
    try:
        yield
    finally:
        _depth[0] -= 1
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)
        if _depth[0] == 0 and "tensorflow" in sys.modules:
            begin_sieve()
