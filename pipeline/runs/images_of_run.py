"""The images of a run: where they lie now, and whether they are still the ones it was made from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.errors import DatasetError, ParityError
from pipeline.images.dataset import require_data_root
from pipeline.images.decoding.read_images import hash_image_file
from pipeline.runs.predictions import read_splits
from pipeline.runs.records import read_digests
from pipeline.runs.run_folder import Run
from pipeline.system.parallel import map_batches
from pipeline.system.paths import denial, is_file

_HASHING_THREADS = 4
_SHOWN = 5


def locate_images(root: Path, paths: list[str]) -> list[Path]:
    """The images' files.

    Raises:
        DatasetError: some are not there.
    """
    require_data_root(root)
    found = [root / path for path in paths]
    missing = [path for path in found if not is_file(path)]
    if missing:
        raise DatasetError(
            f"{len(missing):,} of {len(found):,} images are not where they were. Expected the "
            f"first at {missing[0]}{denial(missing[0])}\n"
            "If the data set was moved, say where it is with `data=FOLDER`; if images were "
            "removed, extract again and fit the head anew."
        )
    return found


def hash_images(
    paths: list[Path], on_progress: Callable[[str, int, int], None] = lambda *_: None
) -> np.ndarray:
    """Digests, uint8 (n_images, 32).

    Raises:
        DatasetError: an image cannot be read.
    """
    digests = np.empty((len(paths), 32), np.uint8)
    for row, (digest, reason) in enumerate(map_batches(hash_image_file, paths, _HASHING_THREADS)):
        if reason is not None:
            raise DatasetError(
                f"This image {reason}. Received: {paths[row]}\nRun extract again and fit the head "
                "anew."
            )
        digests[row] = digest
        on_progress("Hashing", row + 1, len(paths))
    return digests


def require_same_images(run: Run, paths: list[Path], digests: np.ndarray) -> None:
    """Compares all images with those that the run was made from, where it says which these were.

    Args:
        digests: of the images as they are now, uint8 (n_images, 32).

    Raises:
        ParityError: some are others; the message names them.
    """
    require_same_images_at(run, np.arange(len(paths)), paths, digests, len(paths))


def require_same_images_at(
    run: Run, rows: np.ndarray, paths: list[Path], digests: np.ndarray, n_images: int
) -> None:
    """As `require_same_images`, for some of the run's images.

    Args:
        rows: of the images among the run's `n_images`.
    """
    recorded = read_digests(run, n_images)
    if recorded is None:
        return
    changed = np.flatnonzero((digests != recorded[rows]).any(axis=1)).tolist()
    if changed:
        shown = "\n".join(f"  {paths[row]}" for row in changed[:_SHOWN])
        rest = f"\n  and {len(changed) - _SHOWN:,} more" if len(changed) > _SHOWN else ""
        raise ParityError(
            f"{len(changed):,} of {len(paths):,} images were changed since their features were "
            f"made, so the head does not belong to them. Expected the files that {run.folder} was "
            f"made from. Received:\n{shown}{rest}\nRun extract again and fit the head anew."
        )


def read_digests_of(run: Run, split: int) -> set[bytes] | None:
    """sha256 of each image of a split of the run; None for a run that does not say.

    Raises:
        RunError: what it says is damaged.
    """
    if not (run.folder / "digests.npy").exists():
        return None
    splits = read_splits(run)
    digests = read_digests(run, len(splits))
    if digests is None:  # it went between the two looks
        return None
    return {digest.tobytes() for digest in digests[splits == split]}
