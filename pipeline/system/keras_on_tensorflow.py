"""The one place that imports Keras: on TensorFlow, whatever the environment asks for.

All others write `from pipeline.system.keras_on_tensorflow import keras`. An environment variable or
~/.keras/keras.json may name another backend for other work; both stay as they are. The child of the
JAX engine alone gets Keras on JAX, and no TensorFlow: see `keras_backend.py`.
"""

import os
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import BackendError
from pipeline.system.keras_backend import wanted_keras_backend
from pipeline.system.memory import require_memory
from pipeline.system.quiet_start import no_start_up_talk
from pipeline.system.tensorflow_gpus import set_up_gpus

__all__ = ["keras"]

_VARIABLE = "KERAS_BACKEND"
_BACKEND = wanted_keras_backend()
# Of addresses, on two cores. TensorFlow was seen to abort while it was imported with 2,000 MB, and
# to fail to write a model with 3,000.
_NEEDED_BYTES = 3000 * 10**6


@contextmanager
def _backend_asked_for() -> Iterator[None]:
    before, random_state = os.environ.get(_VARIABLE), random.getstate()
    os.environ[_VARIABLE] = _BACKEND
    try:
        yield
    finally:
        random.setstate(random_state)  # some package draws from it while it is imported
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before


if _BACKEND == "tensorflow" and "tensorflow" not in sys.modules:
    require_memory(_NEEDED_BYTES, "TensorFlow")

with _backend_asked_for(), no_start_up_talk():
    import keras

    if _BACKEND == "tensorflow":
        set_up_gpus()

if keras.backend.backend() != _BACKEND:
    raise BackendError(
        "Frostline computes with Keras on TensorFlow, and this process has imported Keras with "
        f"another backend already. Expected: the backend {_BACKEND}. Received: "
        f"{keras.backend.backend()}\nStart a new process, or notebook kernel, in which Frostline "
        "is used before Keras is imported, or Keras is imported with KERAS_BACKEND=tensorflow."
    )
