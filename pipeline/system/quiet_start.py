"""TensorFlow's start-up talk, which C++ writes to stderr past Python, kept off the screen."""

import contextlib
import os
import sys
from collections.abc import Iterator

from pipeline.system.standard_streams import open_closed_streams


@contextlib.contextmanager
def no_start_up_talk() -> Iterator[None]:
    """For the first import of TensorFlow, Keras or KerasHub; exceptions pass as ever."""
    open_closed_streams()
    sys.stderr.flush()
    saved, sink = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)
