"""What the trunk cache is to hold, and what of it is missing."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.features.finished_rows import FinishedRows
from pipeline.finetuning.trunk.cache import Trunk, key_of
from pipeline.runs.run_folder import Run

Missing = tuple[int, list[int]]  # an image, and its views that have no row


@dataclass(frozen=True)
class TrunkJob:
    """What to embed.

    Args:
        target: the trunk cache.
        run: whose model the trunk is taken from.
        weights: where the backbone's weights lie now, None for where they came from.
        precision: of the computation, in Keras's words.
        device: as on the command line.
        preset, flip, seed: of the augmentation.
        paths, digests: the images.
        views: for each image, the views that are wanted.
    """

    target: Path
    trunk: Trunk
    run: Run
    weights: str | None
    precision: str
    device: str
    preset: str
    flip: bool
    seed: int
    paths: list[Path]
    digests: np.ndarray  # uint8 (n_images, 32)
    views: list[list[int]]

    def find_missing(self, finished: FinishedRows) -> list[Missing]:
        """What has no row yet; of equal images the first."""
        missing: list[Missing] = []
        seen: set[bytes] = set()
        for image, views in enumerate(self.views):
            wanted = []
            for view in views:
                key = key_of(self.digests[image], view).tobytes()
                if key not in finished and key not in seen:
                    seen.add(key)
                    wanted.append(view)
            if wanted:
                missing.append((image, wanted))
        return missing

    def keys(self) -> np.ndarray:
        """uint8 (n_different_rows, 32) of all that is wanted, in order."""
        unique = dict.fromkeys(
            key_of(self.digests[image], view).tobytes()
            for image, views in enumerate(self.views)
            for view in views
        )
        return np.frombuffer(b"".join(unique), np.uint8).reshape(-1, 32)
