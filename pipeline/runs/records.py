"""The files of a run besides its manifest and model: history, probes, digests."""

import io
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import RunError
from pipeline.runs.run_folder import Run
from pipeline.system.array_files import (
    UnreadableError,
    read_arrays,
    read_sealed_array,
    write_sealed_array,
)
from pipeline.system.csv_files import read_csv, write_csv
from pipeline.system.expected_tables import Table

# What probes may take in memory: far more than eight do, even with features of an early layer.
_MOST_PROBES, _BYTES_PER_PIXEL, _ROOM_FOR_PROBES = 16, 256, 2**24


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
        x = run.manifest.history.x
        if not all(math.isfinite(record.get(x, math.nan)) for record in history):
            raise ValueError(f"not every row has a number for {x}")
    except (OSError, ValueError) as error:
        raise RunError(
            f"The history of this run cannot be read ({error}). Received: {path}\n"
            "Fit the head again."
        ) from error
    return history


def _to_number(text: str) -> float:
    return float({"True": 1, "False": 0}.get(text, text))


def name_probes(place: int) -> str:
    """The file of the probes of a run's first backbone (0), its second, and so on."""
    return "probes.npz" if place == 0 else f"probes-{place + 1}.npz"


def write_probes(folder: Path, probes: Probes, place: int = 0) -> None:
    """Writes `probes.npz`, or that of a further backbone.

    Args:
        place: which backbone made their pixels; the features are all that the head takes.
    """
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        paths=np.frombuffer(b"\0".join(os.fsencode(path) for path in probes.paths), np.uint8),
        pixels=probes.pixels,
        features=probes.features,
        probabilities=probes.probabilities,
    )
    (folder / name_probes(place)).write_bytes(buffer.getvalue())


def read_probes(run: Run, place: int = 0) -> Probes:
    """Reads `probes.npz`, or that of a further backbone.

    Args:
        place: of the backbone among the run's.

    Raises:
        RunError: it is missing or damaged, or is not of the run's images and classes.
    """
    path = run.folder / name_probes(place)
    side = run.manifest.backbones[place].recipe.image_size
    expected = {
        "paths": Table(np.uint8, ("n_bytes",)),
        "pixels": Table(np.uint8, ("n_probes", side, side, 3)),
        "features": Table(np.floating, ("n_probes", "n_features")),
        "probabilities": Table(np.floating, ("n_probes", len(run.class_names))),
    }
    most = _ROOM_FOR_PROBES + _MOST_PROBES * _BYTES_PER_PIXEL * side**2
    try:
        arrays = read_arrays(path, expected, most_unpacked=most)
        text = arrays["paths"].tobytes()
        paths = [os.fsdecode(name) for name in text.split(b"\0")] if text else []
        if not paths:
            raise UnreadableError("it holds no images")
        if len(paths) != len(arrays["pixels"]):
            raise UnreadableError(f"{len(paths)} paths of {len(arrays['pixels'])} images")
        if not all(np.isfinite(arrays[name]).all() for name in ("features", "probabilities")):
            raise UnreadableError("it holds NaN or infinity")
    except UnreadableError as error:
        raise RunError(
            f"The probe images of this run cannot be read ({error}). Received: {path}\n"
            "Make the run again."
        ) from error
    return Probes(paths, arrays["pixels"], arrays["features"], arrays["probabilities"])


def write_digests(folder: Path, digests: np.ndarray) -> None:
    """Writes `digests.npy`: sha256 of each image, uint8 (n_samples, 32), as in the predictions."""
    write_sealed_array(folder / "digests.npy", digests)


def read_digests(run: Run, n_samples: int) -> np.ndarray | None:
    """Reads `digests.npy`, uint8 (n_samples, 32); None for a run from before there was one.

    Raises:
        RunError: it is damaged, or has not one row for each image.
    """
    path = run.folder / "digests.npy"
    if not path.exists():
        return None
    try:
        return read_sealed_array(path, Table(np.uint8, (n_samples, 32)))
    except UnreadableError as error:
        raise RunError(
            f"The digests of this run's images cannot be read ({error}). Expected uint8 "
            f"({n_samples}, 32). Received: {path}\nFit the head again."
        ) from error
