"""Decodes uploads in a process of its own, so that one that hangs or crashes costs itself alone.

The process gets bytes and recipes, and answers in plain bytes, never a pickle: a decoder that a
hostile image has taken over can give wrong pixels, and no more.
"""

from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np

from pipeline.errors import FrostlineError
from pipeline.images.decoding.read_images import Limits, hash_bytes, read_image_bytes
from pipeline.recipe import Recipe
from pipeline.system.child_process import ChildProcess

# Digest of an upload, uint8 (32,), and its pixels as a recipe wants them, or why it has none.
Form = tuple[np.ndarray, np.ndarray | str]
Read = Callable[[bytes, Recipe, Limits], Form]

_START_SECONDS = 120.0
_DIGEST_BYTES = 32
_MOST_WORDS = 2**16  # bytes of a reason
_PIXELS, _REASON = b"\1", b"\0"


class DecoderLostError(Exception):
    """The process is gone or does not answer; the message is the reason to skip its upload."""


class Decoder:
    """One such process, started anew whenever it was lost. For one thread.

    Args:
        seconds: an upload that takes longer is given up.
        read: what the process calls for an upload; it imports that by name.
    """

    def __init__(self, seconds: float, read: Read = read_image_bytes) -> None:
        self._seconds = seconds
        self._read = read
        self._child: ChildProcess | None = None
        self._is_ready = False

    def start(self) -> None:
        """Starts the process, and does not wait until it is ready."""
        self._child, self._is_ready = ChildProcess(_decode_uploads, self._read), False

    def stop(self) -> None:
        """Ends the process at once."""
        if self._child is not None:
            self._child.stop()
            self._child = None

    def decode(self, data: bytes, recipes: list[Recipe], limits: Limits) -> list[Form]:
        """An upload in the form that each recipe wants.

        Raises:
            DecoderLostError: the process died of it, or gave no answer in time.
            FrostlineError: no process can be started.
        """
        child = self._require_child()
        try:
            child.connection.send((data, recipes, limits))
            return [self._receive(child, recipe) for recipe in recipes]
        except (EOFError, OSError):
            lost = DecoderLostError(f"the decoder crashed: {child.describe_end()}")
        except DecoderLostError as error:
            lost = error
        self.stop()
        raise lost

    def _require_child(self) -> ChildProcess:
        if self._child is None or not self._child.is_alive():
            self.stop()
            self.start()
        child = self._child
        if child is None:
            raise FrostlineError("A process for decoding images was stopped while it was started.")
        if not self._is_ready:
            try:
                self._is_ready = child.connection.poll(_START_SECONDS) and bool(
                    child.connection.recv_bytes()
                )
            except (EOFError, OSError):
                self._is_ready = False
        if not self._is_ready:
            end = child.describe_end()
            self.stop()
            raise FrostlineError(
                "A process for decoding images could not be started. Expected it to be ready "
                f"within {_START_SECONDS:.0f} seconds. Received: {end}\n"
                "Try again with more free memory."
            )
        return child

    def _receive(self, child: ChildProcess, recipe: Recipe) -> Form:
        if not child.connection.poll(self._seconds):
            raise DecoderLostError(
                f"the decoder hangs: no picture within {self._seconds:g} seconds"
            )
        shape = (recipe.image_size, recipe.image_size, 3)
        n_bytes = recipe.image_size**2 * 3
        answer = child.connection.recv_bytes(1 + _DIGEST_BYTES + max(n_bytes, _MOST_WORDS))
        kind, digest, rest = answer[:1], answer[1:][:_DIGEST_BYTES], answer[1 + _DIGEST_BYTES :]
        if len(digest) != _DIGEST_BYTES or (kind == _PIXELS and len(rest) != n_bytes):
            raise DecoderLostError("the decoder crashed: its answer makes no sense")
        known = np.frombuffer(digest, np.uint8)
        if kind == _PIXELS:
            return known, np.frombuffer(rest, np.uint8).reshape(shape)
        return known, rest.decode("utf-8", "replace")


def refuse(data: bytes, recipes: list[Recipe], reason: str) -> list[Form]:
    """The forms of an upload that cannot be decoded."""
    return [(hash_bytes(data), reason)] * len(recipes)


def _decode_uploads(connection: Connection, read: Read) -> None:
    """The process's life: uploads come in, forms go out, until the other side is gone."""
    connection.send_bytes(b"ready")
    while True:
        data, recipes, limits = connection.recv()
        for recipe in recipes:
            connection.send_bytes(_pack(read(data, recipe, limits)))


def _pack(form: Form) -> bytes:
    digest, decoded = form
    if isinstance(decoded, str):
        return _REASON + digest.tobytes() + decoded.encode("utf-8", "replace")[:_MOST_WORDS]
    return _PIXELS + digest.tobytes() + decoded.tobytes()
