"""Reading PyTorch checkpoints without PyTorch, and without trusting them.

A checkpoint is a pickle, and a pickle can run any code. The unpickler here knows tensors' building
blocks and nothing else; whatever else a file asks for is an error that names it, and nothing of it
is imported or called. Time and memory grow with the file's size, not with what it claims.
"""

import math
import zipfile
from pathlib import Path

import numpy as np

from pipeline.backbones.weights.tensor_pickle import (
    MAX_ELEMENTS,
    Storage,
    Tensor,
    UnusableError,
    describe_briefly,
    unpickle,
)
from pipeline.errors import WeightsError

# The first object in every file of the old format: torch/serialization.py, MAGIC_NUMBER.
OLD_FORMAT_MAGIC = 0x1950A86A20F9469CFC6C


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
    except UnusableError as error:
        raise WeightsError(
            f"{path} cannot be used as a PyTorch checkpoint: {error}. Expected: a state dict, "
            "written by torch.save(model.state_dict(), FILE), that holds tensors only."
        ) from None
    except OSError as error:
        raise WeightsError(f"Cannot read {path}: {error.strerror or error}.") from error


def _is_zip(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path)
    except (zipfile.BadZipFile, ValueError, OverflowError) as error:
        # A damaged directory at the end of the file can claim to be anywhere.
        raise UnusableError(f"its zip structure is damaged ({error})") from None


def _read_zip_format(path: Path) -> tuple[dict[str, Tensor], dict[Storage, bytes]]:
    try:
        with zipfile.ZipFile(path) as archive:
            records = {info.filename: info for info in archive.infolist()}
            pickles = [name for name in records if name.split("/")[1:] == ["data.pkl"]]
            if len(pickles) != 1:
                raise UnusableError("it is a zip file without one FOLDER/data.pkl")
            folder = pickles[0].removesuffix("data.pkl")
            compressed = [name for name, i in records.items() if i.compress_type]
            if compressed:
                raise UnusableError(f"its record {compressed[0]} is compressed")
            order = folder + "byteorder"
            if order in records and archive.read(order).strip() != b"little":
                raise UnusableError("it was written on a big-endian machine")
            with archive.open(pickles[0]) as file:
                tensors = _check_state_dict(unpickle(file))
            contents = {}
            n_bytes_left = path.stat().st_size
            for key, storage in _storages_by_key(tensors).items():
                name = f"{folder}data/{key}"
                if name not in records:
                    raise UnusableError(f"its record {name} is missing")
                _check_length(storage, records[name].file_size)
                n_bytes_left -= records[name].file_size
                if n_bytes_left < 0:
                    raise UnusableError("its records overlap, or are longer than the file")
                contents[storage] = archive.read(name)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise UnusableError(f"its zip structure is damaged ({error})") from None
    except (ValueError, OverflowError) as error:
        # Names of records that are no UTF-8, and positions outside the file.
        raise UnusableError(f"its zip structure is damaged ({error})") from None
    return tensors, contents


def _read_old_format(path: Path) -> tuple[dict[str, Tensor], dict[Storage, bytes]]:
    with path.open("rb") as file:
        start = file.read(64)
        file.seek(0)
        if not start.startswith(b"\x80"):
            raise UnusableError(f"it starts with {start[:16]!r}")
        if unpickle(file) != OLD_FORMAT_MAGIC:
            raise UnusableError("it is a pickle, but not one that torch.save wrote")
        unpickle(file)  # protocol version
        system = unpickle(file)
        if not isinstance(system, dict) or dict.get(system, "little_endian") is not True:
            raise UnusableError("it was not written on a little-endian machine")
        tensors = _check_state_dict(unpickle(file))
        storages = _storages_by_key(tensors)
        keys = unpickle(file)
        if (
            not isinstance(keys, list)
            or not all(isinstance(key, str) for key in keys)
            or sorted(keys) != sorted(storages)
        ):
            raise UnusableError("its list of storages does not match its tensors")
        n_bytes_left = path.stat().st_size - file.tell()
        contents = {}
        for key in keys:
            n_elements = int.from_bytes(file.read(8), "little")
            n_bytes = n_elements * storages[key].type.dtype.itemsize
            _check_length(storages[key], n_bytes)
            n_bytes_left -= 8 + n_bytes
            if n_bytes_left < 0:
                raise UnusableError(
                    f"it is truncated: {-n_bytes_left} bytes of storage {key} are missing"
                )
            contents[storages[key]] = file.read(n_bytes)
    return tensors, contents


def _storages_by_key(tensors: dict[str, Tensor]) -> dict[str, Storage]:
    storages: dict[str, Storage] = {}
    for tensor in tensors.values():
        if storages.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            raise UnusableError(f"its storage {tensor.storage.key} is described in two ways")
    return storages


def _check_length(storage: Storage, n_bytes: int) -> None:
    expected = storage.n_elements * storage.type.dtype.itemsize
    if n_bytes != expected:
        raise UnusableError(
            f"its storage {storage.key} has {n_bytes} bytes where {expected} were expected"
        )


def _check_state_dict(value: object) -> dict[str, Tensor]:
    if not isinstance(value, dict):
        raise UnusableError(f"it holds {describe_briefly(value)}")
    for name, tensor in value.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise UnusableError(
                f"its entry {describe_briefly(name)} is {describe_briefly(tensor)}, no tensor"
            )
    return value


def _to_numbers(storage: Storage, content: bytes) -> np.ndarray:
    """A storage's content as one row of numbers; a view of it where NumPy has the type."""
    _check_length(storage, len(content))
    numbers = np.frombuffer(content, storage.type.dtype)
    if storage.type.name == "BFloat16Storage":
        return (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.astype(numbers.dtype.newbyteorder("="), copy=False)


def _to_array(name: str, tensor: Tensor, arrays: dict[Storage, np.ndarray]) -> np.ndarray:
    """A view of a storage's numbers, after checking that it lies inside.

    No copy: a small file can name one storage thousands of times.
    """
    numbers, n_elements = arrays[tensor.storage], math.prod(tensor.shape)
    if len(tensor.shape) != len(tensor.strides):
        raise UnusableError(f"{name} has shape {tensor.shape} and strides {tensor.strides}")
    if math.prod(max(size, 1) for size in tensor.shape) >= MAX_ELEMENTS:
        raise UnusableError(f"{name} has sizes that reach outside its storage: {tensor.shape}")
    if not n_elements:
        return np.zeros(tensor.shape, numbers.dtype)
    last = tensor.offset + sum(
        (size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True)
    )
    # More elements than the storage holds means overlapping strides: a small file could ask for
    # any amount of memory.
    if max(last + 1, n_elements) > tensor.storage.n_elements:
        raise UnusableError(
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
