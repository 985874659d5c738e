"""Which GPUs TensorFlow sees in this process, and that it takes no more of their memory than it
needs.

TensorFlow decides both at its first operation, for good. So what is wanted is kept here until it is
imported, and told to it at once.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

# Equal rows in every process: without it XLA takes those kernels that are the fastest in a trial.
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"
_XLA_FLAGS = "XLA_FLAGS"

# Of the wishes the last one holds: whether GPUs are to be hidden.
_is_hidden = [False]


def hide_gpus() -> bool:
    """Lets TensorFlow see no GPU, now or once it is imported.

    Returns:
        False where it runs already and sees one.
    """
    _is_hidden[:] = [True]
    return "tensorflow" not in sys.modules or show_gpus([])


def show_gpus(gpus: list[Any]) -> bool:
    """Lets TensorFlow, which is imported, see these of its physical devices and no others.

    Returns:
        False where it runs already and sees others.
    """
    import tensorflow as tf

    _is_hidden[:] = [not gpus]
    if tf.config.get_visible_devices("GPU") != gpus:
        with suppress(RuntimeError):
            tf.config.set_visible_devices(gpus, "GPU")
    return tf.config.get_visible_devices("GPU") == gpus


def set_up_gpus() -> None:
    """To be called where TensorFlow was just imported: each process grows into the memory, so that
    several can share a GPU, and sees no GPU where none is wanted.
    """
    import tensorflow as tf

    for gpu in tf.config.list_physical_devices("GPU"):
        with suppress(RuntimeError):  # it is in use already, so its memory is set up
            tf.config.experimental.set_memory_growth(gpu, True)
    if _is_hidden[0]:
        show_gpus([])


@contextmanager
def deterministic_compiler() -> Iterator[None]:
    """To be around the first network that is compiled in a process: then XLA reads its settings."""
    before = os.environ.get(_XLA_FLAGS)
    os.environ[_XLA_FLAGS] = f"{before or ''} {DETERMINISTIC}".strip()
    try:
        yield
    finally:
        if before is None:
            del os.environ[_XLA_FLAGS]
        else:
            os.environ[_XLA_FLAGS] = before
