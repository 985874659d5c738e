"""The pickle in a PyTorch checkpoint, read as what it may say of tensors and nothing else."""

import itertools
import pickle
import pickletools
from collections import OrderedDict
from collections.abc import Callable
from typing import IO, Any, ClassVar, NamedTuple, NoReturn

import numpy as np

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


class UnusableError(Exception):
    """What is wrong with the file, without its path."""


class StorageType(NamedTuple):
    """Stands for a class such as `torch.FloatStorage`."""

    name: str

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(STORAGE_DTYPES[self.name])


class Storage(NamedTuple):
    """A run of `n_elements` numbers somewhere in the file."""

    type: StorageType
    key: str
    n_elements: int


class Tensor(NamedTuple):
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _handler(opcode: str) -> Callable[[Any], None]:
    """The unpickler's method for an opcode of pickle; one that refuses it where none is needed."""
    if opcode in OPCODES:
        return pickle._Unpickler.dispatch[ord(getattr(pickle, opcode))]

    def refuse(_unpickler: pickle._Unpickler) -> NoReturn:
        raise UnusableError(f"its pickle uses {opcode}, which no tensor needs")

    return refuse


class _TensorUnpickler(pickle._Unpickler):
    """Admits tensors' building blocks; any other global ends the reading.

    The one in C would allocate up to 64 GB for a single damaged number, the place of an object in
    its list of those already read; that in Python keeps them in a dict.
    """

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _set_entry(self.stack[-1], key, value)

    def load_setitems(self) -> None:
        items = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            _set_entry(self.stack[-1], key, value)

    def load_build(self) -> None:
        """PyTorch gives a state dict its version as an attribute, which nothing here needs.

        Attributes of the file's choice could stand before the methods of a class.
        """
        self.stack.pop()
        if not isinstance(self.stack[-1], OrderedDict):
            raise UnusableError(f"it sets attributes of {describe_briefly(self.stack[-1])}")

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **{ord(op.code): _handler(op.name) for op in pickletools.opcodes},
        ord(pickle.SETITEM): load_setitem,
        ord(pickle.SETITEMS): load_setitems,
        ord(pickle.BUILD): load_build,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return _MakeOrderedDict()
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _RebuildTensor()
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return _RebuildParameter()
        if module == "torch" and name in STORAGE_DTYPES:
            return StorageType(name)
        raise UnusableError(
            f"it asks for {module}.{name}, which is no part of a tensor; nothing was executed"
        )

    def persistent_load(self, pid: object) -> Storage:
        match pid:
            case ("storage", StorageType() as kind, str(key), str(), int(n_elements), *view):
                if view not in ([], [None]):
                    raise UnusableError("it holds views of storages, as PyTorch 0.1 wrote them")
                if n_elements < 0:
                    raise UnusableError(f"storage {key} claims {n_elements} elements")
                return Storage(kind, key, n_elements)
        raise UnusableError(f"it refers to something that is no storage: {describe_briefly(pid)}")


def _set_entry(target: object, key: Any, value: object) -> None:
    """Tuples as keys could take forever: a short pickle can nest them 60 deep, each twice."""
    if not isinstance(target, dict) or type(key) not in (str, int):
        raise UnusableError(
            f"it names an entry of a {type(target).__name__} by {describe_briefly(key)}"
        )
    target[key] = value


class _MakeOrderedDict:
    """Stands for the class `OrderedDict`: empty, or from a list of pairs as Python 2 wrote it."""

    __slots__ = ()

    def __call__(self, pairs: list | None = None) -> OrderedDict:
        made: OrderedDict[Any, Any] = OrderedDict()
        if pairs is None:
            return made
        if not isinstance(pairs, list):
            raise UnusableError(f"it makes a dict of {describe_briefly(pairs)}")
        for pair in pairs:
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise UnusableError(f"it makes an entry of {describe_briefly(pair)}")
            _set_entry(made, *pair)
        # One list in the file, used again and again, would fill any memory.
        pairs.clear()
        return made


class _RebuildTensor:
    """Stands for the function `torch._utils._rebuild_tensor_v2`."""

    __slots__ = ()

    def __call__(
        self,
        storage: object,
        offset: Any,
        shape: object,
        strides: object,
        _gradient: object = None,
        _hooks: object = None,
        _metadata: object = None,
    ) -> Tensor:
        if (
            not isinstance(storage, Storage)
            or not isinstance(shape, list | tuple)
            or not isinstance(strides, list | tuple)
            or max(len(shape), len(strides)) > 32
            or not all(type(n) is int and 0 <= n < MAX_ELEMENTS for n in (offset, *shape, *strides))
        ):
            raise UnusableError("a tensor is described by other things than a storage and sizes")
        return Tensor(storage, offset, tuple(shape), tuple(strides))


class _RebuildParameter:
    """Stands for the function `torch._utils._rebuild_parameter`."""

    __slots__ = ()

    def __call__(self, tensor: object, _gradient: object = None, _hooks: object = None) -> Tensor:
        if not isinstance(tensor, Tensor):
            raise UnusableError(f"a parameter is made of {describe_briefly(tensor)}")
        return tensor


def unpickle(file: IO[bytes]) -> Any:
    try:
        return _TensorUnpickler(file).load()
    except (UnusableError, OSError):
        raise
    except (EOFError, pickle.UnpicklingError) as error:
        raise UnusableError(f"it is truncated or no pickle ({error})") from None
    except Exception as error:
        # A damaged pickle can fail in any way that a wrong argument can.
        raise UnusableError(f"it is damaged ({type(error).__name__}: {error})") from None


def describe_briefly(value: object) -> str:
    """What a value is, in at most 80 characters; values of a damaged file can have any size."""
    if isinstance(value, dict):
        first = itertools.islice(dict.keys(value), 6)
        names = ", ".join(name for name in first if isinstance(name, str))
        return f"a dict with the keys {names}"[:80]
    if isinstance(value, str | bytes):
        return repr(value[:60])
    return "None" if value is None else f"a {type(value).__name__}"
