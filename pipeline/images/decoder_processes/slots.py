"""Memory that this process and its decoder processes share: slots of pixels, a batch in each.

It has no name, so nothing of it can be left in /dev/shm, however they end.
"""

import math
import mmap
from dataclasses import dataclass

import numpy as np

IDLE = -1  # in the place of an image's number in its piece
_BYTES_OF_A_NUMBER = 8


@dataclass(frozen=True)
class Layout:
    """How the memory is divided; both sides know it.

    Args:
        n_processes: that decode.
        shape: (n_slots, n_images, height, width, 3) of the pixels, uint8; with views (n_slots,
            n_images, n_views, height, width, 3).
    """

    n_processes: int
    shape: tuple[int, ...]

    @property
    def n_bytes(self) -> int:
        """Of it all."""
        return _BYTES_OF_A_NUMBER * self.n_processes + math.prod(self.shape)

    def view_positions(self, memory: mmap.mmap) -> np.ndarray:
        """int64 (n_processes,): which image of its piece each process decodes, or `IDLE`."""
        return np.frombuffer(memory, np.int64, self.n_processes)

    def view_slots(self, memory: mmap.mmap) -> np.ndarray:
        """The pixels, uint8, of the layout's shape."""
        start = _BYTES_OF_A_NUMBER * self.n_processes
        return np.frombuffer(memory, np.uint8, math.prod(self.shape), start).reshape(self.shape)
