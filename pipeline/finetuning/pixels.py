"""The decoded images of a run, in memory where they fit, decoded again each time where not."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.errors import DatasetError
from pipeline.images.decoding.read_images import NO_LIMITS, read_image
from pipeline.recipe import Recipe
from pipeline.system.parallel import map_batches

MEMORY_BYTES = 2_000_000_000
_DECODING_THREADS = 4
_IMAGES_PER_TASK = 16


class PixelStore:
    """Pixels of images by row number.

    Args:
        paths: the images' files.
        recipe: says how to decode them.
        memory_bytes: keep the pixels in memory if they need no more than this.
        on_progress: called with a stage, the number done and the number to do while the pixels
            are decoded into memory.

    Raises:
        DatasetError: an image can no longer be decoded.
    """

    def __init__(
        self,
        paths: list[Path],
        recipe: Recipe,
        *,
        memory_bytes: int = MEMORY_BYTES,
        on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
    ):
        self._paths = paths
        self._recipe = recipe
        self._in_memory: np.ndarray | None = None
        side = recipe.image_size
        if len(paths) * side * side * 3 <= memory_bytes:
            pixels = np.empty((len(paths), side, side, 3), np.uint8)
            rows = np.arange(len(paths))
            tasks = np.array_split(rows, max(1, len(rows) // _IMAGES_PER_TASK))
            done = 0
            for task_rows, decoded in map_batches(
                lambda task: (task, self._decode(task)), tasks, _DECODING_THREADS
            ):
                pixels[task_rows] = decoded
                done += len(task_rows)
                on_progress("Decoding", done, len(rows))
            self._in_memory = pixels

    def __len__(self) -> int:
        return len(self._paths)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """uint8 RGB (n_rows, height, width, 3) of some rows, in their order."""
        if self._in_memory is not None:
            return self._in_memory[rows]
        return np.stack(list(map_batches(self._decode_one, rows, _DECODING_THREADS)))

    def _decode(self, rows: np.ndarray) -> np.ndarray:
        return np.stack([self._decode_one(row) for row in rows])

    def _decode_one(self, row: int) -> np.ndarray:
        return _decode_or_raise(self._paths[row], self._recipe)


def _decode_or_raise(path: Path, recipe: Recipe) -> np.ndarray:
    _, decoded = read_image(path, recipe, NO_LIMITS)
    if isinstance(decoded, str):
        raise DatasetError(
            f"This image could be used when its features were extracted and cannot be any more: "
            f"{decoded}. Received: {path}\nRun extract again and fit the head anew."
        )
    return decoded
