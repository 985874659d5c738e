"""How many bits the 16-bit images of a data set use, by a look at each of them.

Which files are of 16 bits is seen in their first bytes. Only those are decoded, in processes of
their own, and no more of them once one uses all bits: the first, in most data sets that have any.
"""

import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.errors import ImageError
from pipeline.images.decoding.decode import find_depth
from pipeline.images.decoding.depth import is_deep
from pipeline.images.decoding.formats import open_image
from pipeline.images.decoding.isolated_worker import IsolatedReader
from pipeline.images.decoding.read_images import NO_DIGEST, Limits
from pipeline.recipe import FULL_DEPTH, Recipe
from pipeline.system.parallel import count_cores, in_batches, map_batches
from pipeline.system.paths import open_regular_file

_FILES_PER_TASK = 64
_PATIENCE = 3.0  # seconds without a word
_START_BYTES = 65536
# Of formats whose pixels have 8 bits once they are decoded: JPEG, GIF, BMP.
_SHALLOW_STARTS = (b"\xff\xd8\xff", b"GIF8", b"BM")
_SHALLOW_BOXES = {b"ftyp", b"WEBP"}  # AVIF and HEIC; WebP
_PNG_START = b"\x89PNG"


@dataclass(frozen=True)
class Depths:
    """What was found.

    Args:
        n_images: of 16 bits, that were looked at.
        greatest: the most bits that one of them uses; 0 without any.
    """

    n_images: int = 0
    greatest: int = 0

    def __add__(self, other: "Depths") -> "Depths":
        return Depths(self.n_images + other.n_images, max(self.greatest, other.greatest))


def measure_depths(
    paths: Iterable[Path],
    n_paths: int,
    recipe: Recipe,
    limits: Limits,
    on_progress: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Depths:
    """Looks at image files until all are seen, or one that uses all of 16 bits.

    What cannot be decoded counts for nothing.

    Args:
        paths: taken as they are needed, since a million of them would fill the memory.
        n_paths: how many there are.
    """
    found, started = Depths(), time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        IsolatedReader(
            recipe, limits, Path(folder, "lock"), count_cores(), read=_read_depth, shape=(1,)
        ) as read,
    ):

        def look_at(some: list[Path]) -> Depths:
            depths = [_take_depth(read(path)) for path in some if _may_be_deep(path)]
            return sum(depths, Depths())

        tasks = in_batches(paths, _FILES_PER_TASK)
        with closing(map_batches(look_at, tasks, count_cores())) as all_depths:
            for number, depths in enumerate(all_depths, start=1):
                found += depths
                if found.greatest == FULL_DEPTH:
                    break
                if time.monotonic() - started > _PATIENCE:
                    on_progress("Measuring", min(n_paths, number * _FILES_PER_TASK), n_paths)
    return found


def _take_depth(answer: tuple[np.ndarray, np.ndarray | str]) -> Depths:
    _, depth = answer
    return Depths() if isinstance(depth, str) or not depth[0] else Depths(1, int(depth[0]))


def _read_depth(path: Path, recipe: Recipe, limits: Limits) -> tuple[np.ndarray, np.ndarray | str]:
    """As `read_image`, with the depth in place of the pixels."""
    try:
        with open_regular_file(path) as file:
            data = file.read(limits.max_bytes + 1)
        if len(data) > limits.max_bytes:
            return NO_DIGEST, "too large"
        depth = find_depth(data, max_pixels=limits.max_pixels, truncated=recipe.truncated)
    except (ImageError, OSError) as error:
        return NO_DIGEST, str(error)
    return NO_DIGEST, np.array([depth], np.uint8)


def _may_be_deep(path: Path) -> bool:
    """Whether a file's header speaks of 16 bits."""
    try:
        with open_regular_file(path) as file:
            start = file.read(32)
            if start.startswith(_PNG_START):
                return start[24:25] == b"\x10"
            if start.startswith(_SHALLOW_STARTS) or {start[4:8], start[8:12]} & _SHALLOW_BOXES:
                return False
            start += file.read(_START_BYTES)
            with open_image(start, file) as image:
                return is_deep(image, start)
    except (ImageError, OSError):
        return False
