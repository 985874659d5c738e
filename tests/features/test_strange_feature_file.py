"""A feature file from a stranger, with a right seal: refused by name, or used for what it says."""

import json
import os
import resource
import shutil
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from conftest import call
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from benchmarks.attacks.feature_edits import (
    GREEDY,
    N_FEATURES,
    N_IMAGES,
    SENSELESS,
    change,
    claim_a_million_million_rows,
    lead_to_passwd,
    link_in_a_circle,
    put,
    replace,
    say,
)
from benchmarks.stand_in import RECIPE, StandIn, extract
from pipeline.commands.terminal.terminal import Terminal
from pipeline.errors import FeatureFileError, FrostlineError
from pipeline.features.feature_file import FeatureFile
from pipeline.features.opened_file import Features
from pipeline.features.part_file import read_part, write_part
from pipeline.features.verify import recompute_rows
from pipeline.images.splits import SPLITS
from pipeline.recipe import EngineRecord

TABLES = {
    "features": "f4",
    "label": "i4",
    "split": "i1",
    "arrival": "i4",
    "digest": "u1",
    "size": "i8",
    "mtime_ns": "i8",
    "retired/digest": "u1",
    "probe/row": "i8",
    "probe/pixels": "u1",
}
TEXTS = ["path", "skipped/path", "skipped/reason"]
ATTRIBUTES = [
    *("recipe", "recipe_id", "class_names", "data_root", "data_name", "weights_source"),
    "batch_size",
    *("engines", "created", "software", "features_sha256", "format", "version"),
]


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    from conftest import make_photos

    folder = tmp_path_factory.mktemp("strange")
    extract(make_photos(folder / "photos"), folder / "features.h5")
    return folder / "features.h5"


@pytest.fixture
def target(original, tmp_path):
    return shutil.copy(original, tmp_path / "features.h5")


@pytest.mark.parametrize(("edit", "words"), GREEDY)
def test_what_leads_out_of_the_file_or_claims_more_than_it_holds_is_refused(target, edit, words):
    change(target, edit)
    for arguments in (("features", target), ("features", target, "--verify"), ("fit-head", target)):
        outcome = call(*arguments)
        assert outcome.exit_code == 1
        assert words in outcome.stderr
        assert outcome.stderr.count("Error: ") == 1
    assert not Path("runs").exists()


def test_one_text_that_is_there_a_million_times_is_refused_before_it_fills_the_memory(target):
    """A table of texts holds references: each may be to the same megabyte."""

    def repeat(file):
        text = replace(file, "path", shape=(20_000,), dtype=h5py.string_dtype())
        text[0] = "x" * 2**20
        file.flush()
        fd, place = file.id.get_vfd_handle(), text.id.get_offset()
        os.pwrite(fd, os.pread(fd, 16, place) * 20_000, place)

    change(target, repeat)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FeatureFileError, match="claim more bytes than the file has"):
        FeatureFile(target)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_lengths_of_texts_are_read_as_hdf5_writes_them(target):
    """The layout of a table of texts is HDF5's own; h5py has no call that counts their bytes."""
    with h5py.File(target) as file:
        table = file["path"]
        raw = os.pread(file.id.get_vfd_handle(), 16 * len(table), table.id.get_offset())
        lengths = [struct.unpack_from("<I", raw, 16 * row)[0] for row in range(len(table))]
        assert lengths == [len(text) for text in table[:]]


@pytest.mark.parametrize(("edit", "words"), SENSELESS)
def test_values_that_make_no_sense_are_refused_and_named(target, edit, words):
    change(target, edit)
    with pytest.raises(FeatureFileError) as caught:
        FeatureFile(target)
    assert words in str(caught.value)
    assert str(target) in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused_wherever_they_are_read(target, value, photos):
    change(target, put("features", (5, 7), value))
    with pytest.raises(FeatureFileError, match="NaN or infinity"):
        Features(target).arrays()
    with FeatureFile(target) as file, pytest.raises(FeatureFileError, match="NaN or infinity"):
        recompute_rows(file, N_IMAGES, StandIn, data_root=photos)
    with pytest.raises(FeatureFileError, match=r"features\.h5 is damaged.*NaN or infinity"):
        extract(photos, target.with_name("taken.h5"))  # which would take rows from the file


def test_parts_are_not_believed_either(tmp_path):
    path = tmp_path / "part-000001.h5"
    engine = EngineRecord("stand-in", batch_size=4)
    digests = np.arange(64, dtype=np.uint8).reshape(2, 32)
    for edit in (
        lambda file: replace(file, "digest", data=np.zeros((3, 32), "u1")),
        lambda file: replace(file, "features", data=np.zeros(2, "f4")),
        lambda file: file.pop("features"),
        say("engine", "[]"),
    ):
        write_part(path, RECIPE, engine, digests, np.ones((2, 3), np.float32))
        change(path, edit)
        with pytest.raises(FeatureFileError, match="damaged in its tables"):
            read_part(path, RECIPE)


def test_one_bad_file_does_not_hide_the_others(target, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    shutil.copy(target, cache / "good.h5")
    (cache / "folder.h5").mkdir()
    os.mkfifo(cache / "fifo.h5")
    edits = [lead_to_passwd, link_in_a_circle, claim_a_million_million_rows, put("label", 0, 99)]
    for number, edit in enumerate(edits):
        change(shutil.copy(target, cache / f"bad{number}.h5"), edit)
    outcome = call("features", "--json")
    assert outcome.exit_code == 0
    assert [entry["path"] for entry in json.loads(outcome.stdout)] == ["cache/good.h5"]
    assert outcome.stderr.count("Left out:") == len(edits) + 2


names_of_tables = st.sampled_from([*TABLES, *TEXTS])
ODD_TYPES = ["i1", "u1", "i4", "u8", ">i8", "f2", "f8", "?", "S3", "c8", [("x", "i4")], "O"]


def create(file, name, dtype, shape):
    replace(file, name, shape=shape, dtype=h5py.string_dtype() if dtype == "O" else dtype)


@st.composite
def other_values(draw):
    name = draw(st.sampled_from(sorted(set(TABLES) - {"features", "retired/digest"})))
    least, most = np.iinfo(TABLES[name]).min, np.iinfo(TABLES[name]).max
    near = st.sampled_from([-2, -1, 0, 1, 2, 3, N_IMAGES - 1, N_IMAGES])
    value = min(max(draw(near | st.integers(least, most)), least), most)
    return f"{name} {value}", lambda file: file[name].__setitem__(0, value)


@st.composite
def other_types(draw):
    name, odd = draw(names_of_tables), draw(st.sampled_from(ODD_TYPES))
    return f"{name} as {odd}", lambda file: create(file, name, odd, file[name].shape)


@st.composite
def other_shapes(draw):
    name, shape = draw(names_of_tables), tuple(draw(st.lists(st.integers(0, 30), max_size=4)))
    return f"{name} as {shape}", lambda file: create(file, name, file[name].dtype, shape)


@st.composite
def other_json(draw):
    leaf = st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3)
    keys = st.sampled_from(["name", "a", "image_size"])
    value = draw(st.recursive(leaf, lambda part: st.lists(part) | st.dictionaries(keys, part)))
    name = draw(st.sampled_from(ATTRIBUTES))
    return f"{name} = {value!r}", say(name, json.dumps(value))


@st.composite
def other_attributes(draw):
    text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
    data = st.binary(min_size=1).filter(lambda data: b"\0" not in data)
    number = st.integers(-(2**63), 2**63 - 1) | st.floats() | st.booleans()
    name, value = draw(st.sampled_from(ATTRIBUTES)), draw(text | data | number)
    return f"{name} = {value!r}", say(name, value)


@st.composite
def missing(draw):
    name = draw(names_of_tables | st.sampled_from(ATTRIBUTES))
    return f"{name} gone", lambda file: (file.attrs if name in file.attrs else file).pop(name)


@st.composite
def groups_for_tables(draw):
    name = draw(names_of_tables)
    return f"{name} a group", lambda file: (file.pop(name), file.create_group(name))


ANY_CHANGE = st.one_of(
    *(other_values(), other_types(), other_shapes(), other_json(), other_attributes()),
    *(missing(), groups_for_tables()),
)


def show_features(path):
    with FeatureFile(path) as file:
        Terminal(quiet=True).show_features(file, as_json=False)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(change_and_name=ANY_CHANGE)
def test_any_change_of_a_table_ends_in_a_named_error_or_in_a_file_that_makes_sense(
    original, tmp_path, change_and_name
):
    name, edit = change_and_name
    target = shutil.copy(original, tmp_path / "features.h5")
    change(target, edit)
    features = Features(target)
    try:
        table, (X, y, splits) = features.table(), features.arrays()
    except FrostlineError as error:
        note(f"{name}: {error}")
        return
    show_features(target)
    names = features.class_names
    assert {len(column) for column in table.values()} == {N_IMAGES}
    assert X.shape == (N_IMAGES, N_FEATURES) and np.isfinite(X).all()
    assert set(table["label"]) <= {*names, None}
    assert set(splits.tolist()) <= {-1, *range(len(SPLITS))}
    assert set(table["split"]) <= {*SPLITS, None}
    assert [None if row < 0 else names[row] for row in y] == table["label"]
