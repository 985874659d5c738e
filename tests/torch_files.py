"""Writes PyTorch checkpoints by hand, byte for byte as PyTorch does, without PyTorch."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np

from pipeline.backbones.weights.torch_checkpoints import OLD_FORMAT_MAGIC


class Global:
    """Pickled as the global `module.name`, called with `args`."""

    def __init__(self, module, name, args=None):
        self.module, self.name, self.args = module, name, args


class Storage:
    def __init__(self, kind, key, array):
        self.kind, self.key, self.array = kind, key, array


class Pickler(pickle._Pickler):
    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
            if obj.args is not None:
                self.save(obj.args)
                self.write(pickle.REDUCE)
        elif isinstance(obj, Storage):
            kind = Global("torch", obj.kind)
            self.save(("storage", kind, obj.key, "cpu", obj.array.size))
            self.write(pickle.BINPERSID)
        else:
            super().save(obj, save_persistent_id)


def pickle_like_torch(value) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def tensor(array, key="0", kind="FloatStorage", offset=0, shape=None, strides=None):
    array = np.ascontiguousarray(array)
    shape = array.shape if shape is None else shape
    strides = [s // array.itemsize for s in array.strides] if strides is None else strides
    storage = Storage(kind, key, array)
    args = (storage, offset, tuple(shape), tuple(strides), False, OrderedDict())
    return Global("torch._utils", "_rebuild_tensor_v2", args)


class Record(zipfile.ZipInfo):
    """torch.save says of every name that it is UTF-8; zipfile only where it is not ASCII."""

    def _encodeFilenameFlags(self):  # noqa: N802
        return self.filename.encode(), self.flag_bits | 0x800


def write_zip(path, state_dict, **records):
    return write_records(
        path,
        {
            "data.pkl": pickle_like_torch(state_dict),
            "byteorder": records.pop("byteorder", b"little"),
            **{f"data/{s.key}": s.array.tobytes() for s in storages_of(state_dict)},
        },
    )


def write_records(path, records):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(Record(f"archive/{name}"), content)
    return path


def write_old(path, state_dict, keys=None):
    storages = storages_of(state_dict)
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    keys = [s.key for s in storages] if keys is None else keys
    parts = [OLD_FORMAT_MAGIC, 1001, system, state_dict, keys]
    content = b"".join(pickle_like_torch(part) for part in parts)
    for storage in storages:
        content += struct.pack("<q", storage.array.size) + storage.array.tobytes()
    path.write_bytes(content)
    return path


def storages_of(state_dict):
    return [value.args[0] for value in state_dict.values() if isinstance(value, Global)]
