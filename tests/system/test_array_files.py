"""Small files of numpy's: whatever is wrong is told in words, and nothing in them is believed."""

import io
import os
import resource
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import RunError
from pipeline.finetuning.checkpoint import State, read_checkpoint, write_checkpoint
from pipeline.heads.linear import LinearHead, load_linear_head, save_linear_head
from pipeline.runs.records import Probes, read_digests, read_probes, write_digests, write_probes
from pipeline.runs.run_folder import Run
from pipeline.system.array_files import (
    UnreadableError,
    read_arrays,
    read_sealed_array,
    write_sealed_array,
)
from pipeline.system.expected_tables import Table

SIDE, CLASSES = 8, ["cat", "dog"]
BACKBONE = SimpleNamespace(recipe=SimpleNamespace(image_size=SIDE))
MANIFEST = SimpleNamespace(backbones=[BACKBONE], class_names=CLASSES)
RANDOM = np.random.default_rng(0)
PROBES = Probes(
    ["a/1.png", "b/2.png"],
    RANDOM.integers(0, 256, (2, SIDE, SIDE, 3), np.uint8),
    RANDOM.normal(size=(2, 7)).astype(np.float32),
    RANDOM.random((2, len(CLASSES)), np.float32),
)
DIGESTS = RANDOM.integers(0, 256, (5, 32), np.uint8)
HEAD = LinearHead(np.ones((7, 2), np.float32), np.zeros(2, np.float32), ("cat", "dog"))
STATE = State(history=[{"epoch": 0}, {"epoch": 1}], epoch=1, weights=[DIGESTS, np.array(7.0)])
ANY_ARRAY = Table(np.number, ("n",))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with all the small files that there are."""
    folder = tmp_path_factory.mktemp("run")
    write_probes(folder, PROBES)
    write_digests(folder, DIGESTS)
    write_checkpoint(folder / "a.checkpoint", STATE, {"epochs": 8})
    save_linear_head(folder / "head.npz", HEAD)
    return Run(folder, MANIFEST)


def read_head(run):
    head = load_linear_head(run.folder / "head.npz")
    return [head.kernel, head.bias, head.class_names]


READERS = {
    "probes.npz": lambda run: list(vars(read_probes(run)).values()),
    "digests.npy": lambda run: [read_digests(run, len(DIGESTS))],
    "a.checkpoint": lambda run: [str(read_checkpoint(run.folder / "a.checkpoint"))],
    "head.npz": read_head,
}


@pytest.mark.parametrize("name", READERS)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_damage_is_named_with_what_to_do_or_changes_nothing(run, name, data):
    path = run.folder / name
    whole, expected = path.read_bytes(), READERS[name](run)
    damaged = bytearray(whole)
    place = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(["flip", "cut", "zeros", "longer", "lost"]))
    if kind == "flip":
        damaged[place] ^= data.draw(st.integers(1, 255))
    elif kind == "zeros":
        damaged[place : place + 64] = bytes(len(damaged[place : place + 64]))
    elif kind == "longer":
        damaged += data.draw(st.binary(min_size=1, max_size=40))
    else:
        del damaged[place : None if kind == "cut" else place + 1]
    path.write_bytes(damaged)
    try:
        found = READERS[name](run)
    except RunError as error:
        assert str(path) in str(error)
        assert any(words in str(error) for words in ("Make the run again", "again", "Remove it"))
    else:
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    finally:
        path.write_bytes(whole)


def test_array_that_damage_hides_in_the_list_of_a_checkpoint_is_missed(run):
    path = run.folder / "hidden.checkpoint"
    write_checkpoint(path, STATE, {"epochs": 8})
    whole = bytearray(path.read_bytes())
    last = whole.rindex(b"PK\x01\x02")
    before = whole.rindex(b"PK\x01\x02", 0, last)
    # The entry before takes the last one for its comment, whose length stands there.
    whole[before + 32 : before + 34] = (whole.index(b"PK\x05\x06") - last).to_bytes(2, "little")
    path.write_bytes(whole)
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == len(STATE.weights)  # and the header, without one
    with pytest.raises(RunError, match=r"arrays are missing\)(.|\n)*Remove it"):
        read_checkpoint(path)


def npz(path, how=zipfile.ZIP_STORED, **members):
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


def npy(shape, dtype="<f4", n_bytes=0):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": dtype, "fortran_order": False, "shape": shape}
    )
    return header.getvalue() + bytes(n_bytes)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: npz(path, a=npy((2**40,), n_bytes=4)), "'a' claims 4,398,046,511,"),
        (lambda path: npz(path, a=npy((-4,), n_bytes=16)), "it claims the shape"),
        (lambda path: npz(path, a=npy((1,), "|O", 8)), "it holds objects, which are never loaded"),
        (lambda path: npz(path, a=b"no array"), "magic string"),
        (lambda path: npz(path, b=npy((1,), n_bytes=4)), "there is no table 'a'"),
        (lambda path: npz(path, a=npy((2, 2), n_bytes=16)), "'a' should be number [n]"),
        (lambda path: npz(path, a=npy((1,), "<U4", 16)), "'a' should be number [n]"),
        (lambda path: npz(path, zipfile.ZIP_DEFLATED, a=npy((2**24,), "|i1", 2**24)), "claim 16,7"),
        (lambda path: path.write_text("text"), "not a zip file"),
        (lambda path: path.mkdir(), "it is a folder"),
        (os.mkfifo, "it is a pipe or device"),
        (lambda path: None, "no such file"),
    ],
)
def test_what_is_no_file_of_arrays_or_claims_too_much_is_told_in_words(tmp_path, make, words):
    make(tmp_path / "a.npz")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnreadableError) as caught:
        read_arrays(tmp_path / "a.npz", {"a": ANY_ARRAY})
    assert words in str(caught.value)
    assert "pickle" not in str(caught.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_compressed_arrays_may_come_to_what_is_allowed_and_no_more(tmp_path):
    npz(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, a=npy((10_000,), n_bytes=40_000))
    with pytest.raises(UnreadableError, match="its arrays claim 40,128 bytes"):
        read_arrays(tmp_path / "a.npz", {"a": ANY_ARRAY}, most_unpacked=40_127)
    read = read_arrays(tmp_path / "a.npz", {"a": ANY_ARRAY}, most_unpacked=40_128)
    np.testing.assert_array_equal(read["a"], np.zeros(10_000, np.float32))


def test_array_is_sealed_and_still_an_array_for_others_and_of_old_versions(tmp_path):
    write_sealed_array(tmp_path / "a.npy", DIGESTS)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), DIGESTS)
    np.save(tmp_path / "old.npy", DIGESTS)
    for name in ("a.npy", "old.npy"):
        read = read_sealed_array(tmp_path / name, Table(np.uint8, (5, 32)))
        np.testing.assert_array_equal(read, DIGESTS)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"paths": ["a"]}, "1 paths of 2 images"),
        ({"pixels": PROBES.pixels[:, :4]}, "'pixels' should be uint8"),
        ({"pixels": PROBES.pixels[:1]}, "should be floating [n_probes, n_features]"),
        ({"probabilities": PROBES.probabilities[:, :1]}, "'probabilities' should be floating"),
        ({"features": np.full((2, 7), np.nan, np.float32)}, "NaN or infinity"),
    ],
)
def test_probes_that_do_not_fit_their_run_are_refused(tmp_path, changes, words):
    write_probes(tmp_path, Probes(**{**vars(PROBES), **changes}))
    with pytest.raises(RunError) as caught:
        read_probes(Run(tmp_path, MANIFEST))
    assert words in str(caught.value)


def test_probes_without_an_image_prove_nothing_and_are_refused(tmp_path):
    none = Probes([], np.empty((0, 8, 8, 3), np.uint8), np.empty((0, 4)), np.empty((0, 2)))
    write_probes(tmp_path, none)
    with pytest.raises(RunError, match=r"cannot be read \(it holds no images\)"):
        read_probes(Run(tmp_path, MANIFEST))
