"""Reading PyTorch checkpoints without PyTorch, and without trusting them.

A checkpoint is a pickle, and a pickle can run any code. The unpickler here knows tensors' building
blocks and nothing else; whatever else a file asks for is an error that names it, and nothing of it
is imported or called.
"""

import itertools
import math
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pipeline.errors import WeightsError

# The first object in every file of the old format: torch/serialization.py, MAGIC_NUMBER.
OLD_FORMAT_MAGIC = 0x1950A86A20F9469CFC6C

# NumPy has no bfloat16: it is read as uint16 and widened to float32.
STORAGE_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "<u2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "|b1",
}


# Tuples, and below callables with empty slots: a pickle can set attributes of what it has made, and
# these have none to set.
class _StorageType(NamedTuple):
    """Stands for a class such as `torch.FloatStorage`."""

    name: str

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(STORAGE_DTYPES[self.name])


class _Storage(NamedTuple):
    """A run of `n_elements` numbers somewhere in the file."""

    type: _StorageType
    key: str
    n_elements: int


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_state_dict(path: Path | str) -> dict[str, np.ndarray]:
    """Reads the tensors of a PyTorch state dict, in the zip format or the older one.

    Args:
        path: a file that `torch.save(model.state_dict(), path)` wrote.

    Returns:
        Name to array, in the file's order and with PyTorch's shapes (a convolution's weight is
        `(out_channels, in_channels / groups, height, width)`).

    Raises:
        WeightsError: if the file is missing, damaged, no checkpoint, or asks for anything but
            tensors. Nothing in the file is executed.
    """
    path = Path(path)
    try:
        read = _read_zip_format if _is_zip(path) else _read_old_format
        tensors, contents = read(path)
        return {name: _to_array(name, tensor, contents) for name, tensor in tensors.items()}
    except _UnusableError as error:
        raise WeightsError(
            f"{path} cannot be used as a PyTorch checkpoint: {error}. Expected: a state dict, "
            "written by torch.save(model.state_dict(), FILE), that holds tensors only."
        ) from None
    except OSError as error:
        raise WeightsError(f"Cannot read {path}: {error.strerror or error}.") from error


class _UnusableError(Exception):
    """What is wrong with the file, without its path."""


class _TensorUnpickler(pickle._Unpickler):
    """Admits tensors' building blocks; any other global ends the reading.

    The one in C would allocate up to 64 GB for a single damaged number, the place of an object in
    its list of those already read; that in Python keeps them in a dict.
    """

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _RebuildParameter()
        if module == "torch" and name in STORAGE_DTYPES:
            return _StorageType(name)
        raise _UnusableError(
            f"it asks for {module}.{name}, which is no part of a tensor; nothing was executed"
        )

    def persistent_load(self, pid) -> _Storage:
        match pid:
            case ("storage", _StorageType() as kind, str(key), str(), int(n_elements), *view):
                if view not in ([], [None]):
                    raise _UnusableError("it holds views of storages, as PyTorch 0.1 wrote them")
                if n_elements < 0:
                    raise _UnusableError(f"storage {key} claims {n_elements} elements")
                return _Storage(kind, key, n_elements)
        raise _UnusableError(f"it refers to something that is no storage: {_short(pid)}")


class _RebuildTensor:
    """Stands for the function `torch._utils._rebuild_tensor_v2`."""

    __slots__ = ()

    def __call__(self, storage, offset, shape, strides, *_autograd) -> _Tensor:
        numbers = (offset, *shape, *strides)
        if (
            not isinstance(storage, _Storage)
            or not all(type(n) is int and 0 <= n < 2**48 for n in numbers)
            or len(shape) > 32
        ):
            raise _UnusableError("a tensor is described by other things than a storage and sizes")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _RebuildParameter:
    """Stands for the function `torch._utils._rebuild_parameter`."""

    __slots__ = ()

    def __call__(self, tensor, *_autograd) -> _Tensor:
        if not isinstance(tensor, _Tensor):
            raise _UnusableError(f"a parameter is made of {_short(tensor)}")
        return tensor


def _unpickle(file):
    try:
        return _TensorUnpickler(file).load()
    except (_UnusableError, OSError):
        raise
    except (EOFError, pickle.UnpicklingError) as error:
        raise _UnusableError(f"it is truncated or no pickle ({error})") from None
    except Exception as error:
        # A damaged pickle can fail in any way that a wrong argument can.
        raise _UnusableError(f"it is damaged ({type(error).__name__}: {error})") from None


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except (zipfile.BadZipFile, ValueError, OverflowError) as error:
        # A damaged directory at the end of the file can claim to be anywhere.
        raise _UnusableError(f"its zip structure is damaged ({error})") from None


def _read_zip_format(path: Path) -> tuple[dict, dict]:
    try:
        with zipfile.ZipFile(path) as archive:
            records = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in records if name.split("/")[1:] == ["data.pkl"]]
            if len(pickles) != 1:
                raise _UnusableError("it is a zip file without one FOLDER/data.pkl")
            folder = pickles[0].removesuffix("data.pkl")
            compressed = [name for name, i in records.items() if i.compress_type]
            if compressed:
                raise _UnusableError(f"its record {compressed[0]} is compressed")
            order = folder + "byteorder"
            if order in records and archive.read(order).strip() != b"little":
                raise _UnusableError("it was written on a big-endian machine")
            with archive.open(pickles[0]) as file:
                tensors = _check_state_dict(_unpickle(file))
            contents = {}
            for key, storage in _storages_by_key(tensors).items():
                name = f"{folder}data/{key}"
                if name not in records:
                    raise _UnusableError(f"its record {name} is missing")
                _check_length(storage, records[name].file_size)
                contents[storage] = archive.read(name)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise _UnusableError(f"its zip structure is damaged ({error})") from None
    except (ValueError, OverflowError) as error:
        # Names of records that are no UTF-8, and positions outside the file.
        raise _UnusableError(f"its zip structure is damaged ({error})") from None
    return tensors, contents


def _read_old_format(path: Path) -> tuple[dict, dict]:
    with path.open("rb") as file:
        start = file.read(64)
        file.seek(0)
        if not start.startswith(b"\x80"):
            raise _UnusableError(f"it starts with {start[:16]!r}")
        if _unpickle(file) != OLD_FORMAT_MAGIC:
            raise _UnusableError("it is a pickle, but not one that torch.save wrote")
        _unpickle(file)  # protocol version
        system = _unpickle(file)
        if not isinstance(system, dict) or dict.get(system, "little_endian") is not True:
            raise _UnusableError("it was not written on a little-endian machine")
        tensors = _check_state_dict(_unpickle(file))
        storages = _storages_by_key(tensors)
        keys = _unpickle(file)
        if (
            not isinstance(keys, list)
            or not all(isinstance(key, str) for key in keys)
            or sorted(keys) != sorted(storages)
        ):
            raise _UnusableError("its list of storages does not match its tensors")
        n_bytes_left = path.stat().st_size - file.tell()
        contents = {}
        for key in keys:
            n_elements = int.from_bytes(file.read(8), "little")
            n_bytes = n_elements * storages[key].type.dtype.itemsize
            _check_length(storages[key], n_bytes)
            n_bytes_left -= 8 + n_bytes
            if n_bytes_left < 0:
                raise _UnusableError(
                    f"it is truncated: {-n_bytes_left} bytes of storage {key} are missing"
                )
            contents[storages[key]] = file.read(n_bytes)
    return tensors, contents


def _storages_by_key(tensors: dict[str, _Tensor]) -> dict[str, _Storage]:
    storages = {}
    for tensor in tensors.values():
        if storages.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            raise _UnusableError(f"its storage {tensor.storage.key} is described in two ways")
    return storages


def _check_length(storage: _Storage, n_bytes: int) -> None:
    expected = storage.n_elements * storage.type.dtype.itemsize
    if n_bytes != expected:
        raise _UnusableError(
            f"its storage {storage.key} has {n_bytes} bytes where {expected} were expected"
        )


def _check_state_dict(value) -> dict[str, _Tensor]:
    if not isinstance(value, dict):
        raise _UnusableError(f"it holds {_short(value)}")
    # A pickle can give an OrderedDict attributes such as `items` of its own; those of dict hold.
    plain = dict(dict.items(value))
    for name, tensor in plain.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise _UnusableError(f"its entry {_short(name)} is {_short(tensor)}, no tensor")
    return plain


def _to_array(name: str, tensor: _Tensor, contents: dict[_Storage, bytes]) -> np.ndarray:
    """Copies a tensor out of its storage, after checking that it lies inside."""
    kind, n_elements = tensor.storage.type, math.prod(tensor.shape)
    if len(tensor.shape) != len(tensor.strides):
        raise _UnusableError(f"{name} has shape {tensor.shape} and strides {tensor.strides}")
    if not n_elements:
        return np.zeros(0, _result_dtype(kind)).reshape(tensor.shape)
    content = contents[tensor.storage]
    _check_length(tensor.storage, len(content))
    last = tensor.offset + sum(
        (size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True)
    )
    # More elements than the storage holds means overlapping strides: a small file could ask for
    # any amount of memory.
    if max(last + 1, n_elements) > tensor.storage.n_elements:
        raise _UnusableError(
            f"{name} with shape {tensor.shape}, strides {tensor.strides} and offset "
            f"{tensor.offset} reaches outside its storage of {tensor.storage.n_elements} elements"
        )
    strides = [stride * kind.dtype.itemsize for stride in tensor.strides]
    view = np.ndarray(
        tensor.shape, kind.dtype, content, tensor.offset * kind.dtype.itemsize, strides
    )
    if kind.name == "BFloat16Storage":
        return (view.astype(np.uint32) << 16).view(np.float32)
    return view.astype(_result_dtype(kind))


def _result_dtype(kind: _StorageType) -> np.dtype:
    return np.dtype("f4") if kind.name == "BFloat16Storage" else kind.dtype.newbyteorder("=")


def _short(value) -> str:
    """What a value is, in at most 80 characters; values of a damaged file can have any size."""
    if isinstance(value, dict):
        first = itertools.islice(dict.keys(value), 6)
        names = ", ".join(name for name in first if isinstance(name, str))
        return f"a dict with the keys {names}"[:80]
    if isinstance(value, str | bytes):
        return repr(value[:60])
    return "None" if value is None else f"a {type(value).__name__}"
