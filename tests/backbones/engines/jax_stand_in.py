"""The JAX engine's child without JAX, and packages that stand in for JAX's own."""

import os
import signal
import textwrap
from pathlib import Path

import numpy as np

from pipeline.backbones.engines import jax_process
from pipeline.backbones.engines.device import too_little_memory
from pipeline.backbones.engines.jax_process import JaxNetwork

SIDE = 4
# The first byte of a batch that does not go well.
NO_MEMORY, FAILURE, DEATH = 251, 252, 253
# As an H200 said it, see docs/performance.md.
TEXT_OF_AN_H200 = (
    "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 909.49TiB with allocator GPU_0_bfc "
    "on device 0. [executable_name='jit_broadcast_in_dim'] [tf-allocator-allocation-error='']"
)


def sums_of(pixels: np.ndarray) -> np.ndarray:
    """Two columns: the sum of an image's pixels, and its first byte."""
    columns = [pixels.reshape(len(pixels), -1).sum(1, dtype=np.float32), pixels[:, 0, 0, 0]]
    return np.stack(columns, 1).astype(np.float32)


def _run(pixels: np.ndarray) -> np.ndarray:
    first = pixels[0, 0, 0, 0]
    if first == NO_MEMORY:
        raise RuntimeError(TEXT_OF_AN_H200)
    if first == FAILURE:
        raise ValueError("the stand-in stumbles")
    if first == DEATH:
        os.kill(os.getpid(), signal.SIGKILL)
    return sums_of(pixels)


def serve_sums(connection, job) -> None:
    """As `jax_process.serve`, with a network that only adds, of batches of 64 at most."""
    batch_size = min(job.batch_size, 64)
    shape = (SIDE, SIDE, 3)
    connection.send(("ready", JaxNetwork("0.0", batch_size, shape, 2)))
    jax_process._answer(connection, _run, job.memory, (batch_size, *shape))


def serve_no_memory(connection, job) -> None:
    connection.send(("error", too_little_memory(job.batch_size)))


def serve_cannot(connection, job) -> None:
    connection.send(("cannot", ("NotImplementedError: no such operation", "Traceback ...")))


def serve_nothing(connection, job) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write_package(folder: Path, code: str) -> Path:
    """A folder with a package `jax` of that code, which says that it has a plug-in for GPUs."""
    for name, text in (("jax", code), ("jax_plugins", "")):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(textwrap.dedent(text))
    return folder
