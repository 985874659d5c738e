"""Decodes batches of images in processes, each batch into a slot of memory that all share."""

import queue
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.images.decoder_processes.feeder import PIECES_AHEAD, Feeder, Order, Workshop
from pipeline.images.decoder_processes.messages import Outcome, Piece
from pipeline.images.decoder_processes.slots import Layout
from pipeline.images.decoding.read_batches import BatchReader, ReaderSettings
from pipeline.system.unnamed_memory import UnnamedMemory

# A message for so many images costs little, and at the end of a batch few of them are waited for.
PIECE_IMAGES = 8


@dataclass(frozen=True)
class DecodedBatch:
    """What became of a batch of files.

    Args:
        outcomes: digest of each, and the reason why it has no pixels, or None.
        pixels: uint8 (n_usable, height, width, 3) of those without a reason, in their order; with
            views (n_usable, n_views, height, width, 3).
    """

    outcomes: list[Outcome]
    pixels: np.ndarray


class DecoderProcesses:
    """Decodes batches of image files; safe to call from several threads.

    Args:
        settings: how images are read.
        n_processes: each starts when it is first needed.
        n_staged: batches that are used, or wait to be, while others are decoded.
        batch_images: most files of a batch.

    Example:
        with DecoderProcesses(settings, 8, 2, 128) as decoders, decoders.decode(paths) as batch:
            rows = embed(batch.pixels)
    """

    def __init__(
        self, settings: ReaderSettings, n_processes: int, n_staged: int, batch_images: int
    ):
        n_pieces = -(-batch_images // PIECE_IMAGES)
        self.n_slots = n_staged + -(-PIECES_AHEAD * n_processes // n_pieces) + 1
        self.losses: list[str] = []
        self._settings = settings
        self._layout = Layout(n_processes, (self.n_slots, batch_images, *settings.pixel_shape))
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._idle: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._open = ExitStack()

    def __enter__(self) -> "DecoderProcesses":
        layout = self._layout
        alone = replace(self._settings, isolate=True)
        with ExitStack() as stack:
            memory = stack.enter_context(UnnamedMemory())
            mapped = memory.resize(layout.n_bytes)
            self._slots = layout.view_slots(mapped)
            workshop = Workshop(
                self._settings,
                layout,
                memory.descriptor,
                layout.view_positions(mapped),
                self._slots,
                self._orders,
                stack.enter_context(BatchReader(alone, layout.n_processes)),
                self.losses,
            )
            feeders = [Feeder(number, workshop) for number in range(layout.n_processes)]
            stack.callback(self._send_home, feeders)
            for feeder in feeders:
                feeder.start()
            for slot in range(self.n_slots):
                self._idle.put(slot)
            self._open = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    @contextmanager
    def decode(self, paths: list[Path]) -> Iterator[DecodedBatch]:
        """Digests and pixels of a batch; the pixels are there as long as the context is.

        Raises:
            StorageError: the notes of what is being decoded cannot be written.
            FrostlineError: a process cannot be started.
        """
        slot = self._idle.get()
        try:
            outcomes = self._decode_into(slot, paths)
            pixels = self._slots[slot]
            usable = [row for row, (_, reason) in enumerate(outcomes) if reason is None]
            for place, row in enumerate(usable):
                if place != row:
                    pixels[place] = pixels[row]
            yield DecodedBatch(outcomes, pixels[: len(usable)])
        finally:
            self._idle.put(slot)

    def _decode_into(self, slot: int, paths: list[Path]) -> list[Outcome]:
        orders = []
        for start in range(0, len(paths), PIECE_IMAGES):
            some = paths[start : start + PIECE_IMAGES]
            orders.append(Order(Piece(slot, list(range(start, start + len(some))), some)))
            self._orders.put(orders[-1])
        wait(order.done for order in orders)  # nobody writes to the slot any more
        return [outcome for order in orders for outcome in order.done.result()]

    def _send_home(self, feeders: list[Feeder]) -> None:
        started = [feeder for feeder in feeders if feeder.ident is not None]
        for _ in started:
            self._orders.put(None)
        for feeder in started:
            feeder.join()
