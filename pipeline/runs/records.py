"""The files of a run besides its manifest and model: history, probes, digests."""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import RunError, describe_unread_arrays
from pipeline.runs.run_folder import Run
from pipeline.system.atomic_files import atomic_output
from pipeline.system.csv_files import read_csv, write_csv


@dataclass(frozen=True)
class Probes:
    """A few images by which a rebuilt model is checked, as pixels and as what came out of them."""

    paths: list[str]
    pixels: np.ndarray  # uint8 (n_probes, height, width, 3)
    features: np.ndarray  # float32 (n_probes, n_features)
    probabilities: np.ndarray  # float32 (n_probes, n_classes)


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    """Writes one CSV row per epoch (or per C)."""
    columns = list(history[0])
    write_csv(path, [columns, *([record[name] for name in columns] for record in history)])


def read_history(run: Run) -> list[dict[str, float]]:
    """Reads `history.csv`; empty fields are left out of their row.

    Raises:
        RunError: it is missing or damaged.
    """
    path = run.folder / "history.csv"
    try:
        columns, *rows = list(read_csv(path)) or [[]]
        history = [
            {name: _to_number(value) for name, value in zip(columns, row, strict=True) if value}
            for row in rows
        ]
        if not history:
            raise ValueError("it has no rows")
    except (OSError, ValueError) as error:
        raise RunError(
            f"The history of this run cannot be read ({error}). Received: {path}\n"
            "Fit the head again."
        ) from error
    return history


def _to_number(text: str) -> float:
    return float({"True": 1, "False": 0}.get(text, text))


def write_probes(folder: Path, probes: Probes) -> None:
    """Writes `probes.npz`."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        paths=np.frombuffer(b"\0".join(os.fsencode(path) for path in probes.paths), np.uint8),
        pixels=probes.pixels,
        features=probes.features,
        probabilities=probes.probabilities,
    )
    (folder / "probes.npz").write_bytes(buffer.getvalue())


def read_probes(run: Run) -> Probes:
    """Reads `probes.npz`.

    Raises:
        RunError: it is missing or damaged.
    """
    path = run.folder / "probes.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            return Probes(
                paths=[os.fsdecode(name) for name in file["paths"].tobytes().split(b"\0")],
                pixels=file["pixels"],
                features=file["features"],
                probabilities=file["probabilities"],
            )
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise RunError(
            f"The probe images of this run cannot be read ({describe_unread_arrays(error)}). "
            f"Received: {path}\nMake the run again."
        ) from error


def write_digests(folder: Path, digests: np.ndarray) -> None:
    """Writes `digests.npy`: sha256 of each image, uint8 (n_samples, 32), as in the predictions."""
    with atomic_output(folder / "digests.npy") as output:
        np.lib.format.write_array(output, digests, allow_pickle=False)


def read_digests(run: Run, n_samples: int) -> np.ndarray | None:
    """Reads `digests.npy`, uint8 (n_samples, 32); None for a run from before there was one.

    Raises:
        RunError: it is damaged, or has not one row for each image.
    """
    path = run.folder / "digests.npy"
    if not path.exists():
        return None
    try:
        digests: np.ndarray = np.load(path, allow_pickle=False)
        if digests.dtype != np.uint8 or digests.shape != (n_samples, 32):
            raise ValueError(f"{digests.dtype} {digests.shape}")
    except (OSError, ValueError, EOFError) as error:
        raise RunError(
            f"The digests of this run's images cannot be read ({describe_unread_arrays(error)}). "
            f"Expected uint8 ({n_samples}, 32). Received: {path}\nFit the head again."
        ) from error
    return digests
