"""A `.keras` file before Keras sees it: a ZIP archive with a configuration and an HDF5 of weights.

Keras expands, follows and allocates whatever a file says; here it is held against the file's size.
"""

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from pipeline.errors import RunError
from pipeline.system.paths import is_file

CONFIG, WEIGHTS = "config.json", "model.weights.h5"
MEMBERS = {"metadata.json", CONFIG, WEIGHTS}
CONFIG_BYTES_AT_MOST = 16 * 2**20
NAMED_PARTS_AT_MOST = 50_000  # layers, initialisers and the like; NASNetLarge has 5,147
_ENCRYPTED = 1  # a bit of an entry's flags


def read_keras_file(path: Path) -> tuple[dict[str, Any], int]:
    """The configuration of a model, and how many numbers its weights are.

    Raises:
        RunError: the file is missing, damaged, or holds anything but what Keras wrote into it.
    """
    if not is_file(path):
        raise RunError(f"There is no model at {path}. Fit or fine-tune one first")
    try:
        with zipfile.ZipFile(path) as archive:
            for problem in _find_problems(archive.infolist(), path.stat().st_size):
                raise damaged(path, problem)
            config = json.loads(archive.read(CONFIG))
            with h5py.File(io.BytesIO(archive.read(WEIGHTS)), "r") as weights:
                n_numbers = _count_numbers(weights)
    # h5py raises whatever the broken part raises: KeyError, RuntimeError, its own OSError...
    except (
        OSError,
        ValueError,
        KeyError,
        RuntimeError,
        RecursionError,
        zipfile.BadZipFile,
    ) as error:
        raise damaged(path, str(error)) from error
    if not isinstance(config, dict):
        raise damaged(path, f"a {CONFIG} that holds a {type(config).__name__}")
    return {**config, "compile_config": None}, n_numbers  # optimizer and losses are not loaded


def damaged(path: Path, received: str) -> RunError:
    return RunError(
        f"{path} is damaged or no Keras model. Expected: a `.keras` file as `model.save` writes "
        f"it. Received: {received}. Fit the run again"
    )


def _find_problems(entries: list[zipfile.ZipInfo], n_bytes: int) -> Iterator[str]:
    """Keras stores its members as they are, so none is larger than the file."""
    names = [entry.filename for entry in entries]
    if set(names) != MEMBERS or len(names) != len(MEMBERS):
        yield f"an archive of {', '.join(names[:5])}{', ...' if len(names) > 5 else ''}"
    for entry in entries:
        is_plain = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & _ENCRYPTED
        if not is_plain or entry.file_size > n_bytes:
            yield f"{entry.filename} compressed, encrypted or larger than the file"
        if entry.filename == CONFIG and entry.file_size > CONFIG_BYTES_AT_MOST:
            yield f"a {CONFIG} of {entry.file_size:,} bytes"


def _count_numbers(weights: h5py.File) -> int:
    """How many numbers there are; each must lie in the file as it is.

    Raises:
        ValueError: something leads out of the file, or claims more than is there.
    """
    n_numbers = 0

    # What these return ends the walk; an exception would come out as a SystemError.
    def find_link(name: str, link: object) -> str | None:
        return None if isinstance(link, h5py.HardLink) else f"a link at {name}"

    def count(name: str, item: object) -> str | None:
        nonlocal n_numbers
        if isinstance(item, h5py.Dataset):
            is_plain = item.external is None and not item.is_virtual and item.chunks is None
            if not is_plain or item.id.get_storage_size() != item.nbytes:
                return f"numbers at {name} that do not lie there"
            n_numbers += item.size
        return None

    problem = weights.visititems_links(find_link) or weights.visititems(count)
    if problem is not None:
        raise ValueError(f"weights with {problem}")
    return n_numbers
