"""Names what is damaged in an HDF5 file, instead of what h5py happens to say of it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from pipeline.errors import FeatureFileError
from pipeline.system.child_process import ChildFailedError, ChildLostError, HelperProcess
from pipeline.system.hdf5_trust import require_own_tables, require_plain_attributes

ANYWHERE = "some part"
_LARGE_DATASETS = {"features", "retired/features", "views", "retired/views"}
_DIAGNOSED_ROWS = 1024
_DIAGNOSIS_SECONDS = 60.0
_SLOW_DISK = 50e6  # bytes a second


@contextmanager
def damage_named(path: Path, what: str) -> Iterator[None]:
    """Turns what h5py raises for damaged bytes into an error that names what is damaged."""
    try:
        yield
    except FeatureFileError:
        raise
    except Exception as error:
        # Damaged metadata can make HDF5 and h5py raise nearly anything.
        raise damaged(path, what, str(error)) from error


def damaged(path: Path, what: str, how: str) -> FeatureFileError:
    return FeatureFileError(
        f"{path} is damaged in {what}: {how}.\n"
        "Move the file away and run extract again; `frostline.features(FILE, verify=True)` checks "
        "a file."
    )


def diagnose(path: Path) -> str:
    """Names what is damaged in a file whose seal is broken.

    Looks in a process of its own, since HDF5 may crash on damaged bytes, or never come back.
    """
    path = Path(path)
    try:
        with HelperProcess(is_quiet=True) as helper:
            seconds = _DIAGNOSIS_SECONDS + path.stat().st_size / _SLOW_DISK
            return str(helper.call(find_damage, path, seconds=seconds))
    except (ChildLostError, ChildFailedError, FeatureFileError):
        return "its structure"


def find_damage(path: Path) -> str:
    """Names what is damaged; HDF5 may crash while it looks."""
    with h5py.File(path, "r") as file:
        require_plain_attributes(path, file)
        require_own_tables(path, file)
        if hash_small_tables(file) != file.attrs["tables_sha256"]:
            return "the small tables"
        for name in sorted(_LARGE_DATASETS & set(_all_datasets(file))):
            dataset = file[name]
            for start in range(0, len(dataset), _DIAGNOSED_ROWS):
                try:
                    dataset[start : start + _DIAGNOSED_ROWS]
                except OSError:
                    last = min(start + _DIAGNOSED_ROWS, len(dataset)) - 1
                    return f"the {name.replace('/', ' ')}, rows {start} to {last}"
    return "a place that holds no features and no labels"


def hash_small_tables(file: h5py.File) -> str:
    """sha256 over the attributes and all data sets but the large ones, names and types too."""
    hasher = hashlib.sha256()
    for name in sorted(file.attrs):
        if name != "tables_sha256":
            hasher.update(f"{name}={_plain(file.attrs[name])}\n".encode("utf-8", "surrogateescape"))
    for name in sorted(_all_datasets(file)):
        item = file[name]
        hasher.update(f"{name}:{item.dtype}:{item.shape}\n".encode())
        if name in _LARGE_DATASETS:
            continue
        values = item[:]
        if values.dtype == object:
            for value in values:
                hasher.update(len(value).to_bytes(8, "little") + value)
        else:
            hasher.update(np.ascontiguousarray(values).data)
    return hasher.hexdigest()


def _all_datasets(file: h5py.File) -> list[str]:
    names: list[str] = []
    file.visit(names.append)
    return [name for name in names if isinstance(file[name], h5py.Dataset)]


def _plain(value: object) -> str:
    """An attribute as text that does not depend on the versions of numpy and h5py."""
    return value.hex() if isinstance(value, bytes) else str(value)
