"""A feature file as Parquet: the same rows for readers that know nothing of Frostline."""

import json
import os
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from conftest import call, save_image

from benchmarks.stand_in import RECIPE, extract
from pipeline.errors import FeatureFileError, MissingExtraError, StorageError
from pipeline.features import feature_file, parquet
from pipeline.features.opened_file import Features, open_features
from pipeline.features.parquet import to_parquet


@pytest.fixture
def file(photos, tmp_path) -> Features:
    extract(photos, tmp_path / "features.h5")
    return open_features(tmp_path / "features.h5")


def columns_of(path):
    """Every column as a list, features as an array, read by pyarrow alone."""
    table = pyarrow.parquet.read_table(path)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    return {**columns, "features": np.array(columns["features"], np.float32)}


def test_rows_are_those_of_the_feature_file(file, tmp_path):
    written = to_parquet(file, tmp_path / "out.parquet")
    columns, table = columns_of(written), file.table()
    np.testing.assert_array_equal(columns["features"], file.arrays().X)
    for name in ("path", "label", "split", "size"):
        assert columns[name] == table[name]
    assert [digest.hex() for digest in columns["digest"]] == table["digest"]
    metadata = pyarrow.parquet.read_schema(written).metadata
    facts = json.loads(metadata[b"frostline"])
    assert facts["recipe_id"] == RECIPE.id
    assert facts["class_names"] == ["blue", "green", "red"]
    assert facts["engines"][0]["name"] == "stand-in"
    assert sorted(tmp_path.glob("*parquet*")) == [written]


def test_images_without_label_or_with_a_given_split_keep_that(tmp_path):
    for split in ("train", "val"):
        for name in ("cats", "dogs"):
            for number in range(3):
                seed = hash((split, name, number)) % 1000
                save_image(tmp_path / "pets" / split / name / f"{number}.png", seed=seed)
    extract(tmp_path / "pets", tmp_path / "pets.h5")
    columns = columns_of(to_parquet(tmp_path / "pets.h5", tmp_path / "pets.parquet"))
    assert columns["split"] == 6 * ["train"] + 6 * ["val"]
    save_image(tmp_path / "heap" / "one.png", seed=1)
    extract(tmp_path / "heap", tmp_path / "heap.h5")
    columns = columns_of(to_parquet(tmp_path / "heap.h5", tmp_path / "heap.parquet"))
    assert (columns["label"], columns["split"]) == ([None], [None])


def test_no_more_than_a_row_group_is_in_memory(file, tmp_path, monkeypatch):
    monkeypatch.setattr(feature_file, "_BLOCK_BYTES", 2 * 24 * 4)
    monkeypatch.setattr(parquet, "ROW_GROUP_BYTES", 5 * 24 * 4)
    written = to_parquet(file, tmp_path / "out.parquet")
    metadata = pyarrow.parquet.read_metadata(written)
    assert [metadata.row_group(n).num_rows for n in range(4)] == [6, 6, 6, 6]
    np.testing.assert_array_equal(columns_of(written)["features"], file.arrays().X)


def test_names_of_stray_bytes_are_kept_as_bytes(photos, tmp_path):
    name = os.fsdecode(b"\xff\xfe.png")
    (photos / "red" / "000.png").rename(photos / "red" / name)
    extract(photos, tmp_path / "features.h5")
    columns = columns_of(to_parquet(tmp_path / "features.h5", tmp_path / "out.parquet"))
    assert b"red/\xff\xfe.png" in columns["path"]
    assert b"blue/000.png" in columns["path"]


def test_damaged_features_leave_no_parquet_file(file, tmp_path):
    data = bytearray(file.path.read_bytes())
    data[len(data) // 2] ^= 1
    file.path.write_bytes(data)
    with pytest.raises(FeatureFileError, match="damaged"):
        to_parquet(file, tmp_path / "out.parquet")
    assert not list(tmp_path.glob("*parquet*"))


def test_full_disk_leaves_the_old_file(file, tmp_path, monkeypatch):
    target = tmp_path / "out.parquet"
    target.write_bytes(b"old")

    def full(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pyarrow.parquet.ParquetWriter, "write_batch", full)
    with pytest.raises(StorageError, match="disk is full"):
        to_parquet(file, target, force=True)
    assert target.read_bytes() == b"old"
    assert list(tmp_path.glob("*parquet*")) == [target]


def test_missing_package_is_an_error_that_names_the_extra(file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingExtraError, match=r"pip install '\.\[parquet\]'"):
        to_parquet(file, tmp_path / "out.parquet")


def test_command_line_writes_it_once_and_again_with_force(file, tmp_path):
    words = ("features", file.path, "--to-parquet", tmp_path / "out.parquet")
    outcome = call(*words)
    assert outcome.exit_code == 0, outcome.stderr
    assert outcome.stdout == f"{tmp_path / 'out.parquet'}\n"
    outcome = call(*words)
    assert outcome.exit_code == 1
    assert "overwrite it with --force" in outcome.stderr
    assert call(*words, "--force").exit_code == 0
    assert len(columns_of(tmp_path / "out.parquet")["path"]) == 24
