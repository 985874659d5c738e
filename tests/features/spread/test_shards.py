"""n machines compute a share each; the merged file is the one that a single machine makes."""

import shutil
from dataclasses import replace

import h5py
import numpy as np
import pytest
from conftest import call, make_photos, save_image
from hypothesis import given
from hypothesis import strategies as st
from same_files import assert_same

from benchmarks.stand_in import RECIPE, StandIn, extract
from pipeline.errors import DatasetError, EngineError, FeatureFileError, ParameterError
from pipeline.features import identify
from pipeline.features.feature_file import FeatureFile
from pipeline.features.spread import merge as merging
from pipeline.features.spread.merge import merge
from pipeline.features.spread.shard_number import Shard, are_other_shards, parse_shard
from pipeline.features.spread.shards import is_held
from pipeline.features.update import update_features
from pipeline.features.update_job import UpdateOptions
from pipeline.images.dataset import scan_dataset
from pipeline.recipe import EngineRecord
from pipeline.system.sealed_hdf5 import seal_again, verify_seal


class Other(StandIn):
    """Another engine, whose rows are further off by a share of the greatest feature."""

    share = 1e-5

    def __init__(self, batch_size=None):
        super().__init__(batch_size)
        self.record = EngineRecord("other", "2.0", "cpu", "another chip", batch_size=4)

    def __call__(self, pixels):
        return super().__call__(pixels) * np.float32(1 + self.share)


class FarOff(Other):
    share = 0.1


def shard_path(tmp_path, number, n_shards=3):
    return tmp_path / "shards" / f"{number}-of-{n_shards}.h5"


def extract_shards(photos, tmp_path, n_shards=3, numbers=None, **options):
    paths = []
    for number in numbers or range(1, n_shards + 1):
        paths.append(shard_path(tmp_path, number, n_shards))
        extract(photos, paths[-1], shard=Shard(number, n_shards), reuse=False, **options)
    return paths


def extract_with(make, photos, path, number):
    dataset = scan_dataset(photos)
    options = UpdateOptions(shard=Shard(number, 3), reuse=False)
    update_features(dataset, RECIPE, path, make, options)


@given(st.lists(st.binary(min_size=32, max_size=32), min_size=1), st.integers(1, 10_000))
def test_each_digest_falls_to_the_one_shard_that_its_number_says(digests, n_shards):
    table = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    expected = [int.from_bytes(digest[:4], "big") * n_shards // 2**32 + 1 for digest in digests]
    for number in {1, n_shards, *expected}:
        held = is_held(Shard(number, n_shards), table)
        assert held.tolist() == [one == number for one in expected]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1/0", "2", "a/b", "1/3/5", "-1/3", "1/10001", ""])
def test_what_names_no_shard_is_refused(text):
    with pytest.raises(ParameterError, match=r"Expected `shard` to be its number and how many"):
        parse_shard(text)


def test_shards_are_known_by_their_usual_names():
    assert are_other_shards("a-shard-1-of-3.h5", "a-shard-2-of-3.h5")
    for name in ("a-shard-2-of-3.h5", "b-shard-1-of-3.h5", "a-shard-1-of-4.h5", "a.h5"):
        assert not are_other_shards(name, "a-shard-2-of-3.h5")


@pytest.mark.parametrize("n_shards", [1, 3])
def test_merged_shards_are_the_file_of_a_single_machine(photos, tmp_path, n_shards):
    (photos / "red" / "bad.png").write_bytes(b"no image")
    shutil.copy(photos / "red" / "bad.png", photos / "blue" / "bad too.png")
    shutil.copy(photos / "red" / "000.png", photos / "green" / "equal.png")
    (photos / "red" / "empty.png").symlink_to("nowhere.png")
    shards = extract_shards(photos, tmp_path, n_shards)
    merged = merge(reversed(shards), output=tmp_path / "merged.h5")
    extract(photos, tmp_path / "whole.h5", reuse=False)
    assert_same(tmp_path / "merged.h5", tmp_path / "whole.h5")
    verify_seal(merged.path)
    summary = merged.summary
    assert (summary.n_images, summary.reused, summary.copies) == (len(scan_dataset(photos)), 24, 1)
    assert {path for path, _ in summary.skipped} >= {"red/bad.png", "blue/bad too.png"}


def test_each_machine_computes_its_share_and_eight_images_to_compare(photos, tmp_path):
    counts = []
    for number in (1, 2, 3):
        summary, stand_in = extract(
            photos, shard_path(tmp_path, number), shard=Shard(number, 3), reuse=False
        )
        counts.append(summary.computed)
        assert summary.computed <= stand_in.n_images <= summary.computed + 8
    assert sum(counts) == 24
    assert min(counts) > 0


def test_splits_and_arrivals_are_those_of_a_single_machine_when_the_data_set_grows(
    photos, tmp_path
):
    merged, whole = tmp_path / "merged.h5", tmp_path / "whole.h5"
    for target in (merged, whole):
        target.parent.mkdir(exist_ok=True)
    for change in range(3):
        if change == 1:
            make_photos(photos, n_per_class=10)
            (photos / "red" / "003.png").unlink()
        if change == 2:
            (photos / "red" / "004.png").rename(photos / "blue" / "moved.png")
            save_image(photos / "green" / "002.png", seed=77)
        shards = extract_shards(photos, tmp_path)
        merge(shards, output=merged)
        extract(photos, whole, reuse=False)
        assert_same(merged, whole)
    with FeatureFile(merged) as file:
        assert sorted(set(file.contents.arrivals.tolist())) == [0, 1, 2]
        assert len(file.contents.retired) == 2
    assert merge(shards, output=merged).summary.is_unchanged


def test_second_run_of_a_shard_computes_and_reads_only_what_is_new(photos, tmp_path, monkeypatch):
    extract_shards(photos, tmp_path)
    for number in range(6):
        save_image(photos / "red" / f"new{number}.png", seed=200 + number)
    read = []
    real = identify.hash_image_file
    monkeypatch.setattr(
        identify,
        "hash_image_file",
        lambda path, limits: read.append(path.name) or real(path, limits),
    )
    computed = sum(
        extract(photos, shard_path(tmp_path, n), shard=Shard(n, 3), reuse=False)[0].computed
        for n in (1, 2, 3)
    )
    assert computed == 6
    assert sorted(read) == sorted(3 * [f"new{number}.png" for number in range(6)])


@pytest.mark.parametrize("late", [1, 3])
def test_image_that_only_some_shards_saw_is_named(photos, tmp_path, late):
    early = [number for number in (1, 2, 3) if number != late]
    shards = extract_shards(photos, tmp_path, numbers=early)
    save_image(photos / "red" / "added.png", seed=99)
    shards += extract_shards(photos, tmp_path, numbers=[late])
    with pytest.raises(FeatureFileError) as error:
        merge(shards, output=tmp_path / "merged.h5")
    assert f"only shard {late}/3 saw red/added.png" in str(error.value)
    assert not (tmp_path / "merged.h5").exists()
    extract_shards(photos, tmp_path)
    merge(shards, output=tmp_path / "merged.h5")
    extract(photos, tmp_path / "whole.h5", reuse=False)
    assert_same(tmp_path / "merged.h5", tmp_path / "whole.h5")


def test_images_with_other_bytes_or_of_another_class_are_named(photos, tmp_path):
    shards = extract_shards(photos, tmp_path, numbers=[1, 2])
    save_image(photos / "blue" / "001.png", seed=99)
    (photos / "red" / "002.png").unlink()
    shards += extract_shards(photos, tmp_path, numbers=[3])
    with pytest.raises(FeatureFileError) as error:
        merge(shards, output=tmp_path / "merged.h5")
    assert "blue/001.png: it has other bytes" in str(error.value)
    assert "only shard 1/3 saw red/002.png" in str(error.value)


def test_missing_doubled_and_foreign_files_are_named(photos, tmp_path):
    one, two, three = extract_shards(photos, tmp_path)
    again = tmp_path / "again.h5"
    shutil.copy(two, again)
    (of_two,) = extract_shards(photos, tmp_path, n_shards=2, numbers=[1])
    whole = tmp_path / "whole.h5"
    extract(photos, whole, reuse=False)
    for files, said in (
        ([one, three], "Missing: shard '2/3'"),
        ([one], "Missing: shard '2/3', '3/3'"),
        ([one, two, again, three], f"Shard 2/3 is there twice.*{two} and {again}"),
        ([one, of_two], f"{of_two}, which is shard 1/2"),
        ([one, whole], f"This is no shard: {whole} holds a whole data set"),
        ([one, tmp_path / "none.h5"], "There is no such feature file"),
    ):
        with pytest.raises(FeatureFileError, match=said):
            merge(files, output=tmp_path / "merged.h5")
    with pytest.raises(ParameterError, match=r"to merge. Received: none"):
        merge([], output=tmp_path / "merged.h5")
    assert not (tmp_path / "merged.h5").exists()


def test_shards_of_two_recipes_are_never_mixed(photos, tmp_path):
    shards = extract_shards(photos, tmp_path, numbers=[1, 2])
    other = shard_path(tmp_path, 3)
    extract(photos, other, recipe=replace(RECIPE, image_size=16), shard=Shard(3, 3), reuse=False)
    with pytest.raises(FeatureFileError, match="image_size: 8 -> 16"):
        merge([*shards, other], output=tmp_path / "merged.h5")


def test_rows_of_another_engine_are_measured_and_said_or_refused(photos, tmp_path):
    shards = extract_shards(photos, tmp_path, numbers=[1, 2])
    other = shard_path(tmp_path, 3)
    extract_with(Other, photos, other, 3)
    notes = []
    merged = merge([*shards, other], output=tmp_path / "merged.h5", on_note=notes.append)
    (note,) = notes
    assert "other 2.0 on another chip (shard 3/3) are mixed: greatest difference 1e-05" in note
    assert "measured on 8 images" in note
    assert [engine.name for engine in merged.engines] == ["stand-in", "other"]
    other.unlink()
    extract_with(FarOff, photos, other, 3)
    with pytest.raises(EngineError, match=r"shard 3/3\) does not give the rows of stand-in"):
        merge([*shards, other], output=tmp_path / "refused.h5")
    assert not (tmp_path / "refused.h5").exists()


def test_rows_of_one_engine_that_differ_are_found_too(photos, tmp_path):
    """Two machines with another version of a decoder, say."""
    shards = extract_shards(photos, tmp_path)
    with h5py.File(shards[1], "r+") as file:
        file["shard/compared/features"][0] += 50
    seal_again(shards[1])
    with pytest.raises(EngineError, match=r"shard 2/3\) does not give the rows"):
        merge(shards, output=tmp_path / "merged.h5")


def test_file_so_far_of_another_engine_is_compared_as_well(photos, tmp_path):
    target = tmp_path / "merged.h5"
    update_features(scan_dataset(photos), RECIPE, target, FarOff, UpdateOptions(reuse=False))
    before = target.read_bytes()
    with pytest.raises(EngineError, match=r"does not give the rows of .*the file so far"):
        merge(extract_shards(photos, tmp_path), output=target)
    assert target.read_bytes() == before


def test_where_the_data_set_is_not_there_the_shards_own_probes_are_kept(photos, tmp_path):
    shards = extract_shards(photos, tmp_path)
    extract(photos, tmp_path / "whole.h5", reuse=False)
    photos.rename(tmp_path / "elsewhere")
    notes = []
    merge(shards, output=tmp_path / "merged.h5", on_note=notes.append)
    assert any("the shards' own probe images are kept" in note for note in notes)
    with FeatureFile(tmp_path / "merged.h5") as file, FeatureFile(tmp_path / "whole.h5") as whole:
        assert len(file.contents.probe_rows) == 8
        rows = file.read_rows(file.contents.probe_rows)
        np.testing.assert_array_equal(StandIn()(file.contents.probe_pixels), rows)
        np.testing.assert_array_equal(file.read_all(), whole.read_all())


def test_shard_that_is_written_anew_while_it_is_merged_is_an_error(photos, tmp_path, monkeypatch):
    shards = extract_shards(photos, tmp_path)
    real = merging.write_contents

    def replace_one(*arguments):
        copy = shards[1].with_suffix(".copy")
        shutil.copy(shards[1], copy)
        copy.rename(shards[1])
        real(*arguments)

    monkeypatch.setattr(merging, "write_contents", replace_one)
    with pytest.raises(FeatureFileError, match=f"{shards[1]} was written anew"):
        merge(shards, output=tmp_path / "merged.h5")
    assert not (tmp_path / "merged.h5").exists()


def test_shard_and_whole_file_do_not_take_each_others_place(photos, tmp_path):
    (one,) = extract_shards(photos, tmp_path, numbers=[1])
    with pytest.raises(FeatureFileError, match=r"holds shard 1/3 of one. Expected shard 2/3"):
        extract(photos, one, shard=Shard(2, 3))
    with pytest.raises(FeatureFileError, match=r"holds shard 1/3 of one. Expected a whole data"):
        extract(photos, one)
    extract(photos, tmp_path / "whole.h5", reuse=False)
    with pytest.raises(FeatureFileError, match=r"holds a whole data set. Expected shard 1/3"):
        extract(photos, tmp_path / "whole.h5", shard=Shard(1, 3))


def test_more_shards_than_images_is_an_error_that_says_what_to_do(tmp_path):
    photos = make_photos(tmp_path / "photos", n_per_class=1)
    with pytest.raises(DatasetError, match=r"falls to shard .*(.|\n)*Choose fewer shards"):
        extract_shards(photos, tmp_path, n_shards=50)


@pytest.mark.parametrize(
    ("attribute", "table", "value", "said"),
    [
        ("9/3", None, None, "names no shard"),
        ("2/3", None, None, "images that are not those of shard 2/3"),
        (None, "shard/seen/label", 7, "label in shard/seen has no name"),
        (None, "shard/seen/split", 7, "no such split"),
        (None, "shard/compared/features", np.nan, "NaN or infinity in shard/compared"),
    ],
)
def test_shard_that_makes_no_sense_is_refused(photos, tmp_path, attribute, table, value, said):
    (one,) = extract_shards(photos, tmp_path, numbers=[1])
    with h5py.File(one, "r+") as file:
        if attribute is not None:
            file.attrs["shard"] = attribute
        if table is not None:
            file[table][0] = value
    seal_again(one)
    with pytest.raises(FeatureFileError, match=said):
        FeatureFile(one)


def test_head_fitted_on_one_shard_is_told_so(photos, tmp_path):
    (one,) = extract_shards(photos, tmp_path, n_shards=2, numbers=[1])
    outcome = call("fit-head", one, "--output", tmp_path / "run")
    assert outcome.exit_code == 0, outcome.stderr
    assert "This is shard 1/2 of a data set: 24 images, of which" in outcome.stderr
    assert "`python cli.py features SHARDS --merge` makes one file" in outcome.stderr


def test_command_line_makes_shards_and_merges_them(photos, tmp_path, stand_in_backbone):
    words = ("extract", photos, "--backbone", "efficientnet-lite0", "--no-reuse")
    for number in (1, 2, 3):
        outcome = call(*words, "--shard", f"{number}/3")
        assert outcome.exit_code == 0, outcome.stderr
        assert f"Shard {number}/3: " in outcome.stderr
        assert outcome.stdout.endswith(f"-shard-{number}-of-3.h5\n")
    shards = sorted((tmp_path / "cache").glob("*-shard-*.h5"))
    outcome = call("features", *shards, "--merge")
    assert outcome.exit_code == 0, outcome.stderr
    merged = tmp_path / outcome.stdout.strip()
    assert merged.parent == tmp_path / "cache"
    assert "24 images: 24 reused" in outcome.stderr
    outcome = call(*words, "--output", tmp_path / "whole.h5")
    assert outcome.exit_code == 0, outcome.stderr
    assert_same(merged, tmp_path / "whole.h5")
    shown = call("features", shards[0]).stdout
    assert "1/3 of 24 images" in shown
    outcome = call("features", *shards[:2], "--merge")
    assert outcome.exit_code == 1
    assert "Make it with `python cli.py extract DATA --shard 3/3`" in outcome.stderr


def test_merging_is_one_task_and_needs_files():
    for arguments, said in (
        (("--merge",), "--merge needs the PATHs of all shards"),
        (("a.h5", "b.h5"), "Expected one PATH, or --merge. Received: 2 of them"),
        (("a.h5", "--output", "b.h5"), "--output needs --merge"),
        (("a.h5", "b.h5", "--merge", "--verify"), "--merge is done by itself"),
        (("a.h5", "--merge", "--to-parquet", "a.parquet"), "--merge is done by itself"),
        (("--to-parquet", "a.parquet"), "--to-parquet needs the PATH of a feature file"),
        (("a.h5", "--force"), "--force needs --to-parquet"),
    ):
        outcome = call("features", *arguments)
        assert outcome.exit_code == 2
        assert said in outcome.stderr
