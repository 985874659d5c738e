"""A thread for each decoder process: it hands out pieces, hears of them, and starts it again.

Where the process dies, its pieces are decoded anew, and the image that it was at in a process of
its own: if that dies, too, the image is what does it, and that is why it has no pixels.
"""

import queue
import threading
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from pipeline.errors import FrostlineError
from pipeline.images.decoder_processes.messages import (
    Outcome,
    Piece,
    pack_piece,
    unpack_outcomes,
)
from pipeline.images.decoder_processes.process import decode_pieces
from pipeline.images.decoder_processes.slots import IDLE, Layout
from pipeline.images.decoding.read_batches import BatchReader, ReaderSettings
from pipeline.system.child_process import ChildFailedError, ChildProcess

# Pieces that a process has: one to decode, one to go on with while this process is busy.
PIECES_AHEAD = 2
# In a row, of a process that comes to no image: somebody may kill some, a broken one ends always.
MOST_STARTS = 20


@dataclass
class Order:
    """A piece, and what is known of its images."""

    piece: Piece
    done: Future[list[Outcome]] = field(default_factory=Future)
    _known: dict[int, Outcome] = field(default_factory=dict)

    def settle(self, position: int, outcome: Outcome) -> None:
        """Takes the outcome of one image, which is no longer in the piece then."""
        slot, rows, paths = self.piece.slot, [*self.piece.rows], [*self.piece.paths]
        self._known[rows.pop(position)] = outcome
        paths.pop(position)
        self.piece = Piece(slot, rows, paths)

    def fulfil(self, outcomes: list[Outcome]) -> None:
        """Takes the outcomes of all images that are left in the piece."""
        known = self._known | dict(zip(self.piece.rows, outcomes, strict=True))
        self.done.set_result([known[row] for row in sorted(known)])


@dataclass(frozen=True)
class Workshop:
    """What all feeders have in common.

    Args:
        settings: how images are read.
        layout: of the shared memory.
        descriptor, positions, slots: of the shared memory, and views of it.
        orders: to be done; None sends a feeder home.
        read_alone: reads images in processes of their own.
        losses: how processes ended that nobody had ended.
        failures: why none can be started, once that is known.
    """

    settings: ReaderSettings
    layout: Layout
    descriptor: int
    positions: np.ndarray
    slots: np.ndarray
    orders: "queue.SimpleQueue[Order | None]"
    read_alone: BatchReader
    losses: list[str]
    failures: list[str] = field(default_factory=list)


class Feeder(threading.Thread):
    """Has orders done by one process.

    Args:
        number: of the process.
        workshop: what it shares with others.
    """

    def __init__(self, number: int, workshop: Workshop) -> None:
        super().__init__(daemon=True, name=f"frostline-decoder-{number}")
        self._number = number
        self._shop = workshop
        self._under_way: deque[Order] = deque()
        self._child: ChildProcess | None = None
        self._n_starts = 0

    def run(self) -> None:
        """Until there are no more orders."""
        while self._take_orders():
            try:
                self._hear(self._child or self._start())
            except Exception as error:  # whoever waits for the order raises it
                self._stop()
                self._under_way.popleft().done.set_exception(error)
        self._stop()

    def _take_orders(self) -> bool:
        """Takes as many as should be under way, and waits for one where none is; whether any is."""
        while len(self._under_way) < PIECES_AHEAD:
            order = self._next_order()
            if order is None:
                return bool(self._under_way)
            self._under_way.append(order)
            if self._child is not None:
                _send(self._child, order)
        return True

    def _next_order(self) -> Order | None:
        """Waits for one where none is under way; None where there should be no more for now."""
        orders = self._shop.orders
        if not self._under_way:
            return orders.get()
        if orders.qsize() < self._shop.layout.n_processes:
            return None  # others may have none yet
        with suppress(queue.Empty):
            order = orders.get_nowait()
            if order is None:
                orders.put(None)  # to come again when these are done
            return order
        return None

    def _start(self) -> ChildProcess:
        """Starts the process, and gives it what is under way."""
        shop = self._shop
        if shop.failures:
            raise FrostlineError(shop.failures[0])
        shop.positions[self._number] = IDLE
        self._n_starts += 1
        child = self._child = ChildProcess(
            decode_pieces,
            shop.settings,
            shop.layout,
            self._number,
            shop.descriptor,
            descriptors=[shop.descriptor],
        )
        for order in self._under_way:
            _send(child, order)
        return child

    def _stop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    def _hear(self, child: ChildProcess) -> None:
        """Waits for what became of the order that was given first."""
        order = self._under_way[0]
        try:
            answer = child.connection.recv_bytes()
        except (EOFError, OSError):
            self._make_good(child)
            return
        self._n_starts = 0
        self._under_way.popleft()
        try:
            order.fulfil(unpack_outcomes(answer, len(order.piece.rows)))
        except (FrostlineError, ChildFailedError) as error:
            order.done.set_exception(error)

    def _make_good(self, child: ChildProcess) -> None:
        """The process is gone: finds out at which image, and lets the next one do the rest."""
        end = child.describe_end()
        self._stop()
        position = int(self._shop.positions[self._number])
        if position == IDLE and self._n_starts >= MOST_STARTS:
            self._shop.failures.append(
                "A process for decoding images could not be started. Expected it to be ready "
                f"after {MOST_STARTS} attempts. Received: {end}\n"
                "What was finished is kept. Run the same again with fewer `jobs`, with more free "
                "memory, or with `parallel='threads'`."
            )
            raise FrostlineError(self._shop.failures[0])
        self._shop.losses.append(end)
        order = self._under_way[0]
        if 0 <= position < len(order.piece.rows):
            self._n_starts = 0
            ((digest, decoded),) = self._shop.read_alone(order.piece.paths[position : position + 1])
            if isinstance(decoded, str):
                order.settle(position, (digest, decoded))
            else:
                self._shop.slots[order.piece.slot, order.piece.rows[position]] = decoded
                order.settle(position, (digest, None))
        if not order.piece.rows:
            self._under_way.popleft().fulfil([])


def _send(child: ChildProcess, order: Order) -> None:
    with suppress(OSError):  # it is gone, which is noticed when it is heard
        child.connection.send_bytes(pack_piece(order.piece))
