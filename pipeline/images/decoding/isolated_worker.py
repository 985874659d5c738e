"""Reads images in worker processes, so that a decoder that hangs or dies costs one image.

A thread that is stuck in a C decoder cannot be stopped, and a crash there ends the process. A
worker can be killed and started anew. What it sends back is raw bytes, never a pickle.
"""

import os
import queue
from collections.abc import Callable
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import FrostlineError
from pipeline.images.decoding.read_images import Limits, hash_image_file, read_image
from pipeline.recipe import Recipe
from pipeline.system.child_process import ChildProcess

ISOLATE_SECONDS = 60.0
_START_SECONDS = 120.0
_DIGEST_BYTES = 32
_PIXELS, _REASON = b"\1", b"\0"
_WAITING, _DECODING = b"waiting", b"decoding"  # before and after the turnstile

Read = Callable[[Path, Recipe, Limits], tuple[np.ndarray, np.ndarray | str]]


class IsolatedReader:
    """Calls `read_image` in one of a few worker processes; safe to call from several threads.

    Args:
        recipe, limits: as for `read_image`.
        turnstile: a lock file; whoever holds it decodes a large image.
        n_workers: at most so many processes; each starts when it is first needed.
        seconds: an image that takes longer is given up, and its worker killed. To wait for
            another large image is not counted: that one is given up in its own time.
        read: what a worker calls for an image.
        shape: of the uint8 array that it gives, None = of the recipe's pixels.
    """

    def __init__(
        self,
        recipe: Recipe,
        limits: Limits,
        turnstile: Path,
        n_workers: int,
        *,
        seconds: float = ISOLATE_SECONDS,
        read: Read = read_image,
        shape: tuple[int, ...] | None = None,
    ):
        self._arguments = (read, recipe, limits, turnstile)
        self._shape = shape or (recipe.image_size, recipe.image_size, 3)
        self._seconds = seconds
        self._idle: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        for _ in range(n_workers):
            self._idle.put(None)

    def __enter__(self) -> "IsolatedReader":
        return self

    def __exit__(self, *_: object) -> None:
        while not self._idle.empty():
            worker = self._idle.get()
            if worker is not None:
                worker.stop()

    def __call__(self, path: Path) -> tuple[np.ndarray, np.ndarray | str]:
        """A file's digest and its pixels, or the reason why it has none."""
        worker = self._idle.get()
        try:
            if worker is not None and not worker.is_alive():
                worker.stop()
                worker = None
            worker = worker or _Worker(self._arguments)
            try:
                answer = worker.ask(path, self._seconds)
            except _WorkerLostError as lost:
                worker.stop()
                worker = None
                digest, reason = hash_image_file(path)
                return digest, reason or str(lost)
        finally:
            self._idle.put(worker)
        return self._parse(answer)

    def _parse(self, answer: bytes) -> tuple[np.ndarray, np.ndarray | str]:
        digest = np.frombuffer(answer, np.uint8, _DIGEST_BYTES, offset=1)
        rest = memoryview(answer)[1 + _DIGEST_BYTES :]
        if answer[:1] == _PIXELS:
            return digest, np.frombuffer(rest, np.uint8).reshape(self._shape)
        return digest, bytes(rest).decode("utf-8", "replace")


class _WorkerLostError(Exception):
    """The worker is gone or will not answer; the message is the reason to skip its image."""


class _Worker(ChildProcess):
    """One process that reads an image at a time."""

    def __init__(self, arguments: tuple[Read, Recipe, Limits, Path]):
        super().__init__(_work, *arguments)
        try:
            is_ready = self.connection.poll(_START_SECONDS) and self.connection.recv_bytes()
        except (EOFError, OSError):
            is_ready = False
        if not is_ready:
            end = self.describe_end()
            self.stop()
            raise FrostlineError(
                "A worker process for decoding images could not be started. Expected it to be "
                f"ready within {_START_SECONDS:.0f} seconds. Received: {end}\n"
                "Try again without `isolate=True`, or with more free memory."
            )

    def ask(self, path: Path, seconds: float) -> bytes:
        """What the worker makes of a file.

        Raises:
            _WorkerLostError: it died, or did not answer in time.
        """
        try:
            self.connection.send_bytes(os.fsencode(path))
            message = _DECODING
            while message in (_WAITING, _DECODING):
                if not self.connection.poll(seconds if message == _DECODING else None):
                    raise _WorkerLostError(
                        f"the decoder hangs: no picture within {seconds:g} seconds"
                    )
                message = self.connection.recv_bytes()
            return message
        except (EOFError, OSError):
            raise _WorkerLostError(f"the decoder crashed: {self.describe_end()}") from None


class _Turnstile:
    """The lock of large images; says when it is waited for and when it is held."""

    def __init__(self, lock: AbstractContextManager[object], say: Callable[[bytes], None]):
        self._lock = lock
        self._say = say

    def __enter__(self) -> None:
        self._say(_WAITING)
        self._lock.__enter__()
        self._say(_DECODING)

    def __exit__(self, *error: Any) -> None:
        self._lock.__exit__(*error)


def _work(
    connection: Connection, read: Read, recipe: Recipe, limits: Limits, turnstile: Path
) -> None:
    """A worker's life: a path comes in, bytes go out, until the other side is gone."""
    from filelock import FileLock

    from pipeline.images.decoding.decode import share_turnstile

    # The kernel opens the lock when a worker dies.
    share_turnstile(_Turnstile(FileLock(turnstile), connection.send_bytes))
    connection.send_bytes(b"ready")
    while True:
        path = Path(os.fsdecode(connection.recv_bytes()))
        connection.send_bytes(_answer(read, path, recipe, limits))


def _answer(read: Read, path: Path, recipe: Recipe, limits: Limits) -> bytes:
    digest, decoded = read(path, recipe, limits)
    if isinstance(decoded, str):
        return _REASON + digest.tobytes() + decoded.encode("utf-8", "replace")
    return _PIXELS + digest.tobytes() + decoded.tobytes()
