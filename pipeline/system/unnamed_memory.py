"""Memory that a process shares with a child and that has no name.

The kernel frees it when the last of the two has ended, however they end: nothing can be left in
/dev/shm, and a container that gives little room there does not matter.
"""

import mmap
import os
import sys
import tempfile
from types import TracebackType


class UnnamedMemory:
    """A file in memory that only its descriptor leads to.

    The child gets `descriptor` by `ChildProcess(descriptors=...)` and maps it by `map_memory`.
    """

    def __init__(self) -> None:
        if sys.platform == "linux":
            self.descriptor = os.memfd_create("frostline")
        else:
            with tempfile.TemporaryFile() as file:
                self.descriptor = os.dup(file.fileno())

    def __enter__(self) -> "UnnamedMemory":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def resize(self, n_bytes: int) -> mmap.mmap:
        """Gives it a size, and maps it; both sides see the same bytes."""
        os.ftruncate(self.descriptor, n_bytes)
        return map_memory(self.descriptor, n_bytes)

    def close(self) -> None:
        """Gives the descriptor back; what is mapped stays mapped."""
        os.close(self.descriptor)


def map_memory(descriptor: int, n_bytes: int) -> mmap.mmap:
    """Maps so many bytes of an open file, shared with whoever maps it, too."""
    return mmap.mmap(descriptor, n_bytes)
