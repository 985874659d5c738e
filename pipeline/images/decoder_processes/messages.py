"""What goes to a decoder process and what comes back: plain bytes, never a pickle.

A decoder that a hostile image has taken over can then give wrong pixels, and no more.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import FrostlineError, StorageError
from pipeline.system.child_process import ChildFailedError

# Digest of an image, uint8 (32,), and the reason why it has no pixels; None where it has some.
Outcome = tuple[np.ndarray, str | None]

_DIGEST_BYTES = 32
_OUTCOMES, _STORAGE, _OTHER, _FAILURE = b"\0", b"\1", b"\2", b"\3"


@dataclass(frozen=True)
class Piece:
    """Some images of a batch.

    Args:
        slot: where their pixels go.
        rows: which rows of it, one per image.
        paths: of the files.
    """

    slot: int
    rows: list[int]
    paths: list[Path]


def pack_piece(piece: Piece) -> bytes:
    """A piece as bytes."""
    numbers = struct.pack(f"<{2 + len(piece.rows)}I", piece.slot, len(piece.rows), *piece.rows)
    return numbers + b"\0".join(map(os.fsencode, piece.paths))


def unpack_piece(message: bytes) -> Piece:
    """Inverse of `pack_piece`."""
    slot, n_rows = struct.unpack_from("<2I", message)
    rows = struct.unpack_from(f"<{n_rows}I", message, 8)
    names = message[4 * (2 + n_rows) :].split(b"\0")
    return Piece(slot, list(rows), [Path(os.fsdecode(name)) for name in names])


def pack_outcomes(outcomes: list[Outcome]) -> bytes:
    """What became of the images of a piece, as bytes."""
    digests = b"".join(digest.tobytes() for digest, _ in outcomes)
    reasons = ((reason or "").replace("\0", "\N{REPLACEMENT CHARACTER}") for _, reason in outcomes)
    said = "\0".join(reasons).encode("utf-8", "replace")
    return _OUTCOMES + digests + said


def pack_error(error: FrostlineError) -> bytes:
    """What a user can do something about."""
    kind = _STORAGE if isinstance(error, StorageError) else _OTHER
    return kind + str(error).encode("utf-8", "replace")


def pack_failure(trace: str) -> bytes:
    """A traceback."""
    return _FAILURE + trace.encode("utf-8", "replace")


def unpack_outcomes(message: bytes, n_images: int) -> list[Outcome]:
    """Inverse of `pack_outcomes`.

    Raises:
        FrostlineError, StorageError: the decoder's.
        ChildFailedError: it raised something else.
    """
    kind, rest = message[:1], message[1:]
    if kind != _OUTCOMES:
        errors = {_STORAGE: StorageError, _OTHER: FrostlineError}
        raise errors.get(kind, ChildFailedError)(rest.decode("utf-8", "replace"))
    digests = np.frombuffer(rest, np.uint8, _DIGEST_BYTES * n_images).reshape(n_images, -1)
    reasons = rest[_DIGEST_BYTES * n_images :].decode("utf-8", "replace").split("\0")
    return [(digest, reason or None) for digest, reason in zip(digests, reasons, strict=True)]
