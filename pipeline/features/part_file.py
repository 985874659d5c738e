"""Part files: finished rows of an extraction that still runs, or of a trunk cache."""

from pathlib import Path
from typing import Protocol

import h5py
import msgspec
import numpy as np

from pipeline.errors import FeatureFileError
from pipeline.features.file_contents import PART_TABLES, read_text, read_whole_number
from pipeline.recipe import EngineRecord
from pipeline.system.disk import OutputFile
from pipeline.system.hdf5_damage import damage_named
from pipeline.system.hdf5_tables import check_tables, write_rows
from pipeline.system.sealed_hdf5 import VERSION, open_sealed, write_sealed

PART_FORMAT = "frostline-part"


class RowIdentity(Protocol):
    """What decides rows, besides what each is made of: a `Recipe`, or a trunk."""

    @property
    def id(self) -> str: ...


def write_part(
    target: Path,
    identity: RowIdentity,
    engine: EngineRecord,
    digests: np.ndarray,
    features: np.ndarray,
) -> None:
    """Writes finished rows of an extraction that still runs.

    Args:
        engine: what computed them.
        digests: uint8 (n_rows, 32).
        features: float32 (or float16, for a trunk cache) (n_rows, n_features).
    """

    def fill(file: h5py.File, output: OutputFile) -> None:
        write_rows(file, "features", [features], features.shape, output, dtype=features.dtype.type)
        file["digest"] = digests
        file.attrs.update(
            {
                "format": PART_FORMAT,
                "version": VERSION,
                "recipe_id": identity.id,
                "batch_size": engine.batch_size,
                "engine": engine.to_json(),
            }
        )

    write_sealed(target, fill)


def read_part(path: Path, identity: RowIdentity) -> tuple[np.ndarray, EngineRecord, int]:
    """Checks every byte of a part; returns its digests, engine and number of features.

    Raises:
        FeatureFileError: it is damaged, or belongs to another recipe.
    """
    with open_sealed(path, PART_FORMAT) as file:
        with damage_named(path, "its tables"):
            lengths = check_tables(file, PART_TABLES)
            (engine,) = read_engines(file)
            digests = file["digest"][:]
        if file.attrs.get("recipe_id") != identity.id:
            raise FeatureFileError(f"{path} belongs to another recipe.")
        return digests, engine, lengths["n_features"]


def read_engines(file: h5py.File) -> list[EngineRecord]:
    """A part has one. Files from before engines were recorded tell only the size of a batch."""
    if "engines" in file.attrs:
        return msgspec.json.decode(read_text(file, "engines"), type=list[EngineRecord])
    if "engine" in file.attrs:
        return [EngineRecord.from_json(read_text(file, "engine"))]
    return [EngineRecord(batch_size=read_whole_number(file, "batch_size"))]
