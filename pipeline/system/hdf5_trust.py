"""Refuses an HDF5 file that leads out of itself or claims more than it can hold.

A seal says that a file's bytes are those that were written, not who wrote them. So before a value
is read, all that a file is made of is looked at: links and storage that lead into other files,
tables larger than the file, and whatever Frostline never writes, compression too.
"""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from pipeline.errors import FeatureFileError

_MOST_OBJECTS = 64  # a feature file has about twenty tables, and as many attributes
_MOST_NAMED = 100  # characters of a name from the file in a message
_LAYOUTS = {h5py.h5d.COMPACT, h5py.h5d.CONTIGUOUS, h5py.h5d.CHUNKED}
_NUMBERS = {h5py.h5t.INTEGER, h5py.h5t.FLOAT}
_WIDEST_NUMBER = 8  # bytes
# How HDF5 keeps a text of any length in a table: its bytes and where they are.
_REFERENCE = np.dtype([("n_bytes", "<u4"), ("address", "<u8"), ("number", "<u4")])


class _RefusedError(Exception):
    """What is wrong with a file, in words that follow its name."""


def require_own_tables(path: Path, file: h5py.File) -> None:
    """Looks at all tables and what leads to them, without reading a value.

    Args:
        path: of the file, for the message.
        file: opened from that path.

    Raises:
        FeatureFileError: they lie elsewhere, claim more than the file holds, or are of a kind
            that no file of Frostline's has.
    """
    with _refused(path):
        room, claimed = _size(file), 0
        for name, dataset in _find_tables(file):
            claimed += _count_bytes(name, dataset, room)
            _require(claimed <= room, "its tables claim more bytes than the file has")


def require_plain_attributes(path: Path, file: h5py.File) -> None:
    """Looks at the root's attributes: each one number or text, together smaller than the file.

    Raises:
        FeatureFileError: they are not.
    """
    with _refused(path):
        room, n_bytes = _size(file), 0
        _require(h5py.h5a.get_num_attrs(file.id) <= _MOST_OBJECTS, "it has too many attributes")
        for name in file.attrs:
            attribute = file.attrs.get_id(name)
            value = attribute.get_type()
            is_known = value.get_class() in _NUMBERS | {h5py.h5t.STRING}
            _require(
                is_known and attribute.shape == () and value.get_size() <= room,
                f"the attribute {_show(name)} is neither a number nor a text",
            )
            if value.get_class() == h5py.h5t.STRING:
                n_bytes += len(file.attrs[name])
                _require(n_bytes <= room, "its attributes claim more bytes than the file has")


@contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Turns a refusal, and whatever HDF5 raises meanwhile, into an error that names the file."""
    try:
        yield
    except FeatureFileError:
        raise
    except Exception as error:
        # Metadata made on purpose can make HDF5 and h5py raise nearly anything.
        raise FeatureFileError(
            f"{path} is not as Frostline writes its files: {error}. Expected tables that the file "
            "itself holds, of the types that docs/feature-file.md lists.\n"
            "Nothing of it was used. Move the file away and run extract again."
        ) from error


def _require(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise _RefusedError(otherwise)


def _find_tables(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every table, by links that are the file's own, each object once."""
    seen = {h5py.h5o.get_info(file.id).addr}
    groups = [("", file["/"])]
    while groups:
        place, group = groups.pop()
        _require(len(group) <= _MOST_OBJECTS, "it holds too many objects")
        for name in group:
            full = place + name
            link = group.get(name, getlink=True)
            _require(
                type(link) is h5py.HardLink,
                f"{_show(full)} is a link that may lead out of the file",
            )
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            _require(address not in seen, f"{_show(full)} is there under another name, too")
            seen.add(address)
            _require(len(seen) <= _MOST_OBJECTS, "it holds too many objects")
            if isinstance(item, h5py.Group):
                groups.append((full + "/", item))
            else:
                _require(isinstance(item, h5py.Dataset), f"{_show(full)} is no table")
                yield full, item


def _count_bytes(name: str, dataset: h5py.Dataset, room: int) -> int:
    """The bytes of memory that a table takes when it is read."""
    made = dataset.id.get_create_plist()
    _require(made.get_external_count() == 0, f"{_show(name)} keeps its values in another file")
    _require(made.get_layout() in _LAYOUTS, f"{_show(name)} takes its values from other tables")
    filters = {made.get_filter(number)[0] for number in range(made.get_nfilters())}
    _require(filters <= {h5py.h5z.FILTER_FLETCHER32}, f"{_show(name)} is compressed")
    shape = dataset.id.get_space().get_simple_extent_dims()
    _require(bool(shape), f"{_show(name)} has no rows")
    n_values = math.prod(shape)
    value = dataset.id.get_type()
    is_text = value.get_class() == h5py.h5t.STRING and value.is_variable_str()
    is_number = value.get_class() in _NUMBERS and value.get_size() <= _WIDEST_NUMBER
    _require(is_text or is_number, f"{_show(name)} holds neither numbers nor text of any length")
    n_bytes = n_values * (_REFERENCE.itemsize if is_text else value.get_size())
    if made.get_layout() == h5py.h5d.CHUNKED:
        chunk_bytes = math.prod(made.get_chunk()) * value.get_size()
        _require(max(chunk_bytes, n_bytes) <= room, f"{_show(name)} claims more than the file has")
    _require(n_bytes <= room, f"{_show(name)} claims more bytes than the file has")
    return n_bytes + (_count_text(name, dataset, n_values) if is_text and n_values else 0)


def _count_text(name: str, dataset: h5py.Dataset, n_texts: int) -> int:
    """The bytes of all texts of a table together; any number of them may be one and the same."""
    start = dataset.id.get_offset()
    n_bytes = n_texts * _REFERENCE.itemsize
    is_plain = start is not None and dataset.id.get_storage_size() == n_bytes
    _require(is_plain, f"{_show(name)} is text that is kept in an unknown way")
    raw = os.pread(dataset.file.id.get_vfd_handle(), n_bytes, start)
    _require(len(raw) == n_bytes, f"{_show(name)} ends behind the end of the file")
    return int(np.frombuffer(raw, _REFERENCE)["n_bytes"].sum(dtype=np.uint64))


def _size(file: h5py.File) -> int:
    return os.fstat(file.id.get_vfd_handle()).st_size


def _show(name: str) -> str:
    return repr(name[:_MOST_NAMED])
