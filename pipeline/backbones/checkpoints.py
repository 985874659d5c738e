"""Reading PyTorch checkpoints without PyTorch, and without trusting them.

A checkpoint is a pickle, and a pickle can run any code. The unpickler here knows tensors' building
blocks and nothing else; whatever else a file asks for is an error that names it, and nothing of it
is imported or called. Time and memory grow with the file's size, not with what it claims.
"""

import itertools
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import ClassVar, NamedTuple

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

# What torch.save writes, with any protocol from 2. Others are left out because they allocate what a
# number claims (BYTEARRAY8), take numbers and keys of any length (LONG4, LONG), hash what they get
# (sets, DICT) or make objects in other ways (NEWOBJ, INST).
OPCODES = """
    PROTO FRAME STOP MARK GLOBAL STACK_GLOBAL REDUCE BUILD BINPERSID
    NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT
    BINUNICODE SHORT_BINUNICODE BINSTRING SHORT_BINSTRING
    EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_LIST APPEND APPENDS EMPTY_DICT SETITEM SETITEMS
    BINGET LONG_BINGET BINPUT LONG_BINPUT MEMOIZE
""".split()

# More than any memory holds; below it, no product with an item's size overflows NumPy's integers.
MAX_ELEMENTS = 2**48


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
        `(out_channels, in_channels / groups, height, width)`). They are read-only; those that
        shared a storage share memory.

    Raises:
        WeightsError: if the file is missing, damaged, no checkpoint, or asks for anything but
            tensors. Nothing in the file is executed.
    """
    path = Path(path)
    try:
        read = _read_zip_format if _is_zip(path) else _read_old_format
        tensors, contents = read(path)
        arrays = {storage: _to_numbers(storage, content) for storage, content in contents.items()}
        return {name: _to_array(name, tensor, arrays) for name, tensor in tensors.items()}
    except _UnusableError as error:
        raise WeightsError(
            f"{path} cannot be used as a PyTorch checkpoint: {error}. Expected: a state dict, "
            "written by torch.save(model.state_dict(), FILE), that holds tensors only."
        ) from None
    except OSError as error:
        raise WeightsError(f"Cannot read {path}: {error.strerror or error}.") from error


class _UnusableError(Exception):
    """What is wrong with the file, without its path."""


def _handler(opcode: str):
    """The unpickler's method for an opcode of pickle; one that refuses it where none is needed."""
    if opcode in OPCODES:
        return pickle._Unpickler.dispatch[ord(getattr(pickle, opcode))]

    def refuse(_unpickler):
        raise _UnusableError(f"its pickle uses {opcode}, which no tensor needs")

    return refuse


class _TensorUnpickler(pickle._Unpickler):
    """Admits tensors' building blocks; any other global ends the reading.

    The one in C would allocate up to 64 GB for a single damaged number, the place of an object in
    its list of those already read; that in Python keeps them in a dict.
    """

    def load_setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        _set_entry(self.stack[-1], key, value)

    def load_setitems(self):
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            _set_entry(self.stack[-1], key, value)

    def load_build(self):
        """PyTorch gives a state dict its version as an attribute, which nothing here needs.

        Attributes of the file's choice could stand before the methods of a class.
        """
        self.stack.pop()
        if not isinstance(self.stack[-1], OrderedDict):
            raise _UnusableError(f"it sets attributes of {_short(self.stack[-1])}")

    dispatch: ClassVar = {
        **{ord(op.code): _handler(op.name) for op in pickletools.opcodes},
        ord(pickle.SETITEM): load_setitem,
        ord(pickle.SETITEMS): load_setitems,
        ord(pickle.BUILD): load_build,
    }

    def find_class(self, module: str, name: str):
        if (module, name) == ("collections", "OrderedDict"):
            return _MakeOrderedDict()
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


def _set_entry(target, key, value) -> None:
    """Tuples as keys could take forever: a short pickle can nest them 60 deep, each twice."""
    if not isinstance(target, dict) or type(key) not in (str, int):
        raise _UnusableError(f"it names an entry of a {type(target).__name__} by {_short(key)}")
    target[key] = value


class _MakeOrderedDict:
    """Stands for the class `OrderedDict`: empty, or from a list of pairs as Python 2 wrote it."""

    __slots__ = ()

    def __call__(self, pairs: list | None = None) -> OrderedDict:
        made = OrderedDict()
        if pairs is None:
            return made
        if not isinstance(pairs, list):
            raise _UnusableError(f"it makes a dict of {_short(pairs)}")
        for pair in pairs:
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise _UnusableError(f"it makes an entry of {_short(pair)}")
            _set_entry(made, *pair)
        # One list in the file, used again and again, would fill any memory.
        pairs.clear()
        return made


class _RebuildTensor:
    """Stands for the function `torch._utils._rebuild_tensor_v2`."""

    __slots__ = ()

    def __call__(
        self, storage, offset, shape, strides, _gradient=None, _hooks=None, _metadata=None
    ) -> _Tensor:
        if (
            not isinstance(storage, _Storage)
            or not isinstance(shape, list | tuple)
            or not isinstance(strides, list | tuple)
            or max(len(shape), len(strides)) > 32
            or not all(type(n) is int and 0 <= n < MAX_ELEMENTS for n in (offset, *shape, *strides))
        ):
            raise _UnusableError("a tensor is described by other things than a storage and sizes")
        return _Tensor(storage, offset, tuple(shape), tuple(strides))


class _RebuildParameter:
    """Stands for the function `torch._utils._rebuild_parameter`."""

    __slots__ = ()

    def __call__(self, tensor, _gradient=None, _hooks=None) -> _Tensor:
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
            n_bytes_left = path.stat().st_size
            for key, storage in _storages_by_key(tensors).items():
                name = f"{folder}data/{key}"
                if name not in records:
                    raise _UnusableError(f"its record {name} is missing")
                _check_length(storage, records[name].file_size)
                n_bytes_left -= records[name].file_size
                if n_bytes_left < 0:
                    raise _UnusableError("its records overlap, or are longer than the file")
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
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, _Tensor):
            raise _UnusableError(f"its entry {_short(name)} is {_short(tensor)}, no tensor")
    return value


def _to_numbers(storage: _Storage, content: bytes) -> np.ndarray:
    """A storage's content as one row of numbers; a view of it where NumPy has the type."""
    _check_length(storage, len(content))
    numbers = np.frombuffer(content, storage.type.dtype)
    if storage.type.name == "BFloat16Storage":
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(numbers.dtype.newbyteorder("="), copy=False)


def _to_array(name: str, tensor: _Tensor, arrays: dict[_Storage, np.ndarray]) -> np.ndarray:
    """A view of a storage's numbers, after checking that it lies inside.

    No copy: a small file can name one storage thousands of times.
    """
    numbers, n_elements = arrays[tensor.storage], math.prod(tensor.shape)
    if len(tensor.shape) != len(tensor.strides):
        raise _UnusableError(f"{name} has shape {tensor.shape} and strides {tensor.strides}")
    if math.prod(max(size, 1) for size in tensor.shape) >= MAX_ELEMENTS:
        raise _UnusableError(f"{name} has sizes that reach outside its storage: {tensor.shape}")
    if not n_elements:
        return np.zeros(tensor.shape, numbers.dtype)
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
    array = np.ndarray(
        tensor.shape,
        numbers.dtype,
        numbers,
        tensor.offset * numbers.itemsize,
        [stride * numbers.itemsize for stride in tensor.strides],
    )
    array.flags.writeable = False
    return array


def _short(value) -> str:
    """What a value is, in at most 80 characters; values of a damaged file can have any size."""
    if isinstance(value, dict):
        first = itertools.islice(dict.keys(value), 6)
        names = ", ".join(name for name in first if isinstance(name, str))
        return f"a dict with the keys {names}"[:80]
    if isinstance(value, str | bytes):
        return repr(value[:60])
    return "None" if value is None else f"a {type(value).__name__}"
