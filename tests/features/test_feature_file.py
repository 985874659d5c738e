import json
import os
import shutil

import h5py
import numpy as np
import pytest
from conftest import call

from benchmarks.stand_in import RECIPE, extract
from pipeline.errors import FeatureFileError
from pipeline.features.feature_file import FeatureFile
from pipeline.features.part_file import read_part, write_part
from pipeline.recipe import EngineRecord
from pipeline.system.sealed_hdf5 import seal_again, verify_seal


@pytest.fixture
def target(photos, tmp_path):
    path = tmp_path / "features.h5"
    extract(photos, path)
    return path


def test_untouched_file_verifies(target):
    verify_seal(target)


def test_every_flipped_byte_in_features_and_seal_is_found(target):
    data = bytearray(target.read_bytes())
    with h5py.File(target) as file:
        start = file["features"].id.get_chunk_info(0).byte_offset + 512
    for offset in [*range(0, 512, 37), *range(start, start + 2304, 97)]:
        data[offset] ^= 0x10
        target.write_bytes(data)
        with pytest.raises(FeatureFileError, match="damaged"):
            verify_seal(target)
        data[offset] ^= 0x10
    target.write_bytes(data)
    verify_seal(target)


def test_damaged_features_are_refused_by_name_when_read(target):
    data = bytearray(target.read_bytes())
    with h5py.File(target) as file:
        chunk = file["features"].id.get_chunk_info(0)
    data[chunk.byte_offset + 5] ^= 1
    target.write_bytes(data)
    with pytest.raises(
        FeatureFileError, match="is damaged in the features, rows 0 to 23: these are"
    ):
        FeatureFile(target)


def test_damage_where_nothing_is_kept_is_refused_in_plain_words(target):
    target.write_bytes(target.read_bytes() + b"more")
    with pytest.raises(FeatureFileError, match="in a place that holds no features and no labels:"):
        FeatureFile(target)


@pytest.mark.parametrize("name", ["label", "digest", "path", "split", "mtime_ns", "probe/pixels"])
def test_damaged_small_table_is_refused_by_name(target, name):
    with h5py.File(target, "r+") as file:
        values = file[name][:]
        values[0] = b"x" if name == "path" else values[0] + 1
        file[name][:] = values
    with pytest.raises(FeatureFileError, match="is damaged in the small tables: these are"):
        FeatureFile(target)


def test_changed_attribute_is_found(target):
    with h5py.File(target, "r+") as file:
        file.attrs["class_names"] = json.dumps(["green", "blue", "red"])
    with pytest.raises(FeatureFileError, match="small tables"):
        FeatureFile(target)


def test_cut_file_is_refused(target):
    data = target.read_bytes()
    for length in (0, 100, 512, 600, len(data) // 2, len(data) - 1):
        target.write_bytes(data[:length])
        with pytest.raises(FeatureFileError):
            verify_seal(target)


def test_file_of_a_newer_format_says_so(target):
    with h5py.File(target, "r+") as file:
        file.attrs["version"] = 2
    seal_again(target)
    with pytest.raises(FeatureFileError, match="newer Frostline"):
        FeatureFile(target)


def test_other_files_are_refused_by_what_they_are(tmp_path):
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(FeatureFileError, match="not a feature file"):
        FeatureFile(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1]
    with h5py.File(tmp_path / "blocked.h5", "w", userblock_size=512) as file:
        file["x"] = [1]
    with pytest.raises(FeatureFileError, match="not written by Frostline"):
        FeatureFile(tmp_path / "other.h5")
    with pytest.raises(FeatureFileError, match="damaged"):
        FeatureFile(tmp_path / "blocked.h5")
    with pytest.raises(FeatureFileError, match="no such feature file"):
        FeatureFile(tmp_path / "missing.h5")


def test_rows_come_in_the_order_asked_for(target):
    with FeatureFile(target) as file:
        everything = file.read_all()
        for rows in ([3, 1, 2], [23, 0], [5, 5, 0, 23], []):
            np.testing.assert_array_equal(
                file.read_rows(np.array(rows, np.int64)), everything[rows].reshape(-1, 24)
            )


def test_part_of_another_recipe_is_refused(tmp_path):
    from dataclasses import replace

    digests = np.arange(64, dtype=np.uint8).reshape(2, 32)
    engine = EngineRecord("litert", "2.1", "cpu", "AMD EPYC 7B13", "", "float32", 2, 4)
    write_part(tmp_path / "part.h5", RECIPE, engine, digests, np.ones((2, 3), np.float32))
    found, read, n_features = read_part(tmp_path / "part.h5", RECIPE)
    np.testing.assert_array_equal(found, digests)
    assert (read, read.n_threads, n_features) == (engine, 2, 3)
    with pytest.raises(FeatureFileError, match="another recipe"):
        read_part(tmp_path / "part.h5", replace(RECIPE, image_size=16))


def test_file_on_which_hdf5_never_comes_back_is_refused_all_the_same(target, monkeypatch):
    """Seen: a flipped byte of the metadata on which HDF5 runs for ever."""
    from pipeline.system import hdf5_damage

    data = bytearray(target.read_bytes())
    data[-1] ^= 1
    target.write_bytes(data)
    monkeypatch.setattr(hdf5_damage, "_DIAGNOSIS_SECONDS", 0.001)
    with pytest.raises(FeatureFileError, match="is damaged in its structure: these are"):
        FeatureFile(target)


def test_a_damaged_file_is_named_and_the_others_are_listed(target, tmp_path):
    folder = tmp_path / "cache"
    folder.mkdir()
    shutil.copy(target, folder / "good.h5")
    (folder / "bad.h5").write_bytes(target.read_bytes()[:-100])
    outcome = call("features")
    assert outcome.exit_code == 0
    assert "good.h5" in outcome.stdout
    assert "bad.h5" not in outcome.stdout
    assert "Left out:" in outcome.stderr
    assert "bad.h5" in outcome.stderr


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "f.h5")
    for options in ((), ("--verify",)):
        outcome = call("features", tmp_path / "f.h5", *options)
        assert outcome.exit_code == 1
        assert str(tmp_path / "f.h5") in outcome.stderr
