"""The life of a decoder process: paths come in, pixels go into a slot, digests and reasons out."""

import traceback
from multiprocessing.connection import Connection

import numpy as np
from filelock import FileLock

from pipeline.errors import FrostlineError
from pipeline.images.decoder_processes.messages import (
    Outcome,
    Piece,
    pack_error,
    pack_failure,
    pack_outcomes,
    unpack_piece,
)
from pipeline.images.decoder_processes.slots import IDLE, Layout
from pipeline.images.decoding.decode import share_turnstile
from pipeline.images.decoding.read_batches import BatchReader, ReaderSettings
from pipeline.system.unnamed_memory import map_memory


def decode_pieces(
    connection: Connection, settings: ReaderSettings, layout: Layout, number: int, descriptor: int
) -> None:
    """Decodes one piece after the other, until the other side is gone.

    Args:
        settings: how images are read.
        layout: of the shared memory.
        number: of this process.
        descriptor: of the shared memory.
    """
    share_turnstile(FileLock(settings.turnstile))  # the kernel opens it when a process dies
    memory = map_memory(descriptor, layout.n_bytes)
    own_position = layout.view_positions(memory)[number : number + 1]
    slots = layout.view_slots(memory)
    with BatchReader(settings, 1) as reader:
        while True:
            piece = unpack_piece(connection.recv_bytes())
            connection.send_bytes(_answer(piece, reader, slots[piece.slot], own_position))


def _answer(piece: Piece, reader: BatchReader, slot: np.ndarray, own_position: np.ndarray) -> bytes:
    try:
        return pack_outcomes(_decode(piece, reader, slot, own_position))
    except FrostlineError as error:
        return pack_error(error)
    except Exception:
        return pack_failure(traceback.format_exc())
    finally:
        own_position[0] = IDLE


def _decode(
    piece: Piece, reader: BatchReader, slot: np.ndarray, own_position: np.ndarray
) -> list[Outcome]:
    """Says before each image which one it is, so that it can be named if this process dies."""
    own_position[0] = 0
    outcomes: list[Outcome] = []
    results = reader.read_each(piece.paths)
    for position, (row, (digest, decoded)) in enumerate(zip(piece.rows, results, strict=True)):
        if isinstance(decoded, str):
            outcomes.append((digest, decoded))
        else:
            slot[row] = decoded
            outcomes.append((digest, None))
        own_position[0] = position + 1
    return outcomes
